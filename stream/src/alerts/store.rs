//! Rules, firings and deliveries in Postgres: the only file with their SQL.
//!
//! Promises: a state, the firing it opens or closes and the message about it are one transaction, and only the process that holds the
//! evaluator's lease can commit one. Does not: decide anything.

use peep_wire::ProjectId;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::machine::State;
use super::measure::Seen;
use super::rule::{Receiver, Rule, Target};

/// Parameters 2 to 11 of a statement that writes a rule.
macro_rules! bind_rule {
    ($query:expr, $rule:expr) => {
        $query
            .bind(&$rule.name)
            .bind(&$rule.service)
            .bind(&$rule.env)
            .bind($rule.target.kind())
            .bind($rule.target.to_json())
            .bind($rule.for_s)
            .bind($rule.keep_firing_s)
            .bind($rule.enabled)
            .bind($rule.receiver.as_ref().map(|receiver| receiver.url.as_str()))
            .bind($rule.receiver.as_ref().and_then(|receiver| receiver.secret.as_deref()))
    };
}
/// A rule and where it stands.
#[derive(Debug, Clone)]
pub struct Kept {
    /// `alert_rule_id`.
    pub id: i64,
    /// Whose.
    pub project: ProjectId,
    /// Its name.
    pub project_name: String,
    /// What a person wrote.
    pub rule: Rule,
    /// Changes with the rule.
    pub updated_ms: i64,
    /// Where it stands.
    pub state: State,
    /// Since when it stands there.
    pub since_ms: i64,
    /// When it was looked at.
    pub evaluated_ms: Option<i64>,
    /// What was seen.
    pub sentence: String,
    /// The figure it is about.
    pub value: Option<f64>,
    /// Of an error budget.
    pub burn: Option<f64>,
    /// The stretch of time that shows it.
    pub window_ms: Option<(i64, i64)>,
}

/// A stretch of time during which a rule fired.
#[derive(Debug, Clone)]
pub struct Firing {
    /// Which rule.
    pub rule: i64,
    /// Its name.
    pub name: String,
    /// When it began.
    pub began_ms: i64,
    /// `None`: it still does.
    pub ended_ms: Option<i64>,
    /// What was seen when it began.
    pub sentence: String,
}

/// A message that is due.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `alert_delivery_id`.
    pub id: Uuid,
    /// What to send.
    pub body: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Where to; `None`: the rule has no receiver any more.
    pub receiver: Option<Receiver>,
}

/// Rules of a project, oldest first; `None`: the enabled ones of all projects.
pub async fn rules(pool: &PgPool, project: Option<ProjectId>) -> Result<Vec<Kept>, sqlx::Error> {
    let rows = sqlx::query(SELECT_RULES)
        .bind(project.map(|project| project.0.cast_signed()))
        .bind(None::<i64>)
        .fetch_all(pool)
        .await?;
    rows.iter().map(kept).collect()
}

/// One rule of a project.
pub async fn rule(pool: &PgPool, project: ProjectId, id: i64) -> Result<Option<Kept>, sqlx::Error> {
    let row = sqlx::query(SELECT_RULES).bind(project.0.cast_signed()).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(kept).transpose()
}

/// Adds a rule; `None` when the project has too many.
pub async fn add(pool: &PgPool, project: ProjectId, rule: &Rule, rules_max: i64) -> Result<Option<i64>, sqlx::Error> {
    let insert = sqlx::query_scalar(
        "insert into alert_rule
            (project_id, name, service, env, kind, target, for_s, keep_firing_s, enabled, receiver_url, receiver_secret)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
        where (select count(*) from alert_rule where project_id = $1) < $12
        returning alert_rule_id",
    )
    .bind(project.0.cast_signed());
    bind_rule!(insert, rule).bind(rules_max).fetch_optional(pool).await
}

/// Replaces a rule. What it watches may be something else now, so it begins anew; an open firing ends. False when there is none.
pub async fn change(pool: &PgPool, project: ProjectId, id: i64, rule: &Rule) -> Result<bool, sqlx::Error> {
    let update = sqlx::query_scalar(
        "with changed as (
            update alert_rule
            set name = $2, service = $3, env = $4, kind = $5, target = $6, for_s = $7, keep_firing_s = $8, enabled = $9,
                receiver_url = $10, receiver_secret = $11, updated_at = clock_timestamp(), state = 'ok', since = now(),
                quiet_since = null, sentence = '', value = null, burn = null, window_from = null, window_to = null
            where project_id = $1 and alert_rule_id = $12
            returning alert_rule_id
        ), ended as (
            update alert_firing set ended_at = greatest(began_at, now())
            where ended_at is null and alert_rule_id in (select alert_rule_id from changed)
        )
        select alert_rule_id from changed",
    )
    .bind(project.0.cast_signed());
    let changed: Option<i64> = bind_rule!(update, rule).bind(id).fetch_optional(pool).await?;
    Ok(changed.is_some())
}

/// Removes a rule with its firings and what was still to be told. False when there is none.
pub async fn remove(pool: &PgPool, project: ProjectId, id: i64) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query("delete from alert_rule where project_id = $1 and alert_rule_id = $2")
        .bind(project.0.cast_signed())
        .bind(id)
        .execute(pool)
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// Firings that touch a range, newest first.
pub async fn firings(pool: &PgPool, project: ProjectId, from_ms: i64, to_ms: i64) -> Result<Vec<Firing>, sqlx::Error> {
    let rows = sqlx::query(
        "select alert_rule_id, name, (extract(epoch from began_at) * 1000)::bigint as began_ms,
            (extract(epoch from ended_at) * 1000)::bigint as ended_ms, f.sentence
        from alert_firing f join alert_rule r using (alert_rule_id)
        where f.project_id = $1 and began_at < to_timestamp($3::double precision / 1000)
            and (ended_at is null or ended_at >= to_timestamp($2::double precision / 1000))
        order by began_at desc, alert_firing_id desc limit $4",
    )
    .bind(project.0.cast_signed())
    .bind(from_ms as f64)
    .bind(to_ms as f64)
    .bind(FIRINGS_MAX)
    .fetch_all(pool)
    .await?;
    let firing = |row: &PgRow| {
        Ok(Firing {
            rule: row.try_get("alert_rule_id")?,
            name: row.try_get("name")?,
            began_ms: row.try_get("began_ms")?,
            ended_ms: row.try_get("ended_ms")?,
            sentence: row.try_get("sentence")?,
        })
    };
    rows.iter().map(firing).collect()
}

/// What fired for a rule, for whoever looks at the same services.
#[derive(Debug, Clone)]
pub struct Fired {
    /// Which rule.
    pub rule: i64,
    /// Its name.
    pub name: String,
    /// Of its target.
    pub kind: String,
    /// `None`: every service.
    pub service: Option<String>,
    /// `None`: all environments.
    pub env: Option<String>,
    /// When it began.
    pub began_ms: i64,
    /// `None`: it still does.
    pub ended_ms: Option<i64>,
    /// What was seen: lately, while the condition is true, else when it began.
    pub sentence: String,
    /// Of an error budget: the share that should succeed, and of how many days.
    pub budget: Option<(f64, u32)>,
}

/// What fired in a range, by whatever rule: those of one service first, the newest of them.
pub async fn fired(pool: &PgPool, project: ProjectId, from_ms: i64, to_ms: i64) -> Result<Vec<Fired>, sqlx::Error> {
    let rows = sqlx::query(
        "select alert_rule_id, name, kind, service, env, (extract(epoch from began_at) * 1000)::bigint as began_ms,
            (extract(epoch from ended_at) * 1000)::bigint as ended_ms, target,
            case when ended_at is null and state = 'firing' and quiet_since is null and r.sentence <> '' then r.sentence
                else f.sentence end as seen
        from alert_firing f join alert_rule r using (alert_rule_id)
        where f.project_id = $1 and began_at < to_timestamp($3::double precision / 1000)
            and (ended_at is null or ended_at >= to_timestamp($2::double precision / 1000))
        order by service is null, began_at desc, alert_firing_id desc limit $4",
    )
    .bind(project.0.cast_signed())
    .bind(from_ms as f64)
    .bind(to_ms as f64)
    .bind(FIRINGS_MAX)
    .fetch_all(pool)
    .await?;
    let fired = |row: &PgRow| {
        let (kind, target): (String, Value) = (row.try_get("kind")?, row.try_get("target")?);
        let budget = match Target::stored(&kind, target) {
            Ok(Target::ErrorBudget { objective, period_days }) => Some((objective, period_days)),
            _ => None,
        };
        Ok(Fired {
            rule: row.try_get("alert_rule_id")?,
            name: row.try_get("name")?,
            kind,
            service: row.try_get("service")?,
            env: row.try_get("env")?,
            began_ms: row.try_get("began_ms")?,
            ended_ms: row.try_get("ended_ms")?,
            sentence: row.try_get("seen")?,
            budget,
        })
    };
    rows.iter().map(fired).collect()
}

/// Whether this process evaluates now; then also for `lease_ms` from now on.
pub async fn take_lease(pool: &PgPool, owner: Uuid, lease_ms: i64) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        "insert into alert_evaluator (owner, alive_until) values ($1, now() + $2 * interval '1 millisecond')
        on conflict (only_row) do update set owner = excluded.owner, alive_until = excluded.alive_until
        where alert_evaluator.owner = excluded.owner or alert_evaluator.alive_until < now()",
    )
    .bind(owner)
    .bind(lease_ms)
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// Lets somebody else go on at once.
pub async fn give_lease_back(pool: &PgPool, owner: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("delete from alert_evaluator where owner = $1").bind(owner).execute(pool).await.map(|_| ())
}

/// What a look changed.
pub struct Change<'a> {
    /// The rule as it was read.
    pub kept: &'a Kept,
    /// Where it stands now.
    pub state: State,
    /// Since when.
    pub since_ms: i64,
    /// What was seen.
    pub seen: &'a Seen,
    /// What has to be told.
    pub message: Option<(Uuid, String)>,
    /// The present.
    pub now_ms: i64,
}

/// Writes what a look changed. False when the lease is somebody else's, or a person has changed the rule since: then nothing happened.
///
/// Must run to its end, like [`crate::history::read`].
pub async fn write(pool: &PgPool, owner: Uuid, change: &Change<'_>) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let wrote = write_state(&mut transaction, owner, change).await?;
    if wrote {
        write_firing(&mut transaction, change).await?;
        if let Some((id, body)) = &change.message {
            sqlx::query("insert into alert_delivery (alert_delivery_id, alert_rule_id, body) values ($1, $2, $3)")
                .bind(id)
                .bind(change.kept.id)
                .bind(body)
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(wrote)
}

async fn write_state(connection: &mut PgConnection, owner: Uuid, change: &Change<'_>) -> Result<bool, sqlx::Error> {
    let quiet_since_ms = match change.state {
        State::Firing { quiet_since_ms, .. } => quiet_since_ms,
        State::Ok | State::Pending { .. } => None,
    };
    let window_from_ms = change.now_ms - change.seen.window_s * 1000;
    // The lease's row is locked until the commit, so that it cannot change hands in between.
    let written = sqlx::query(
        "with mine as (
            select 1 from alert_evaluator where owner = $1 and alive_until > now() for share
        )
        update alert_rule
        set state = $3, since = to_timestamp($4::double precision / 1000),
            quiet_since = to_timestamp($5::double precision / 1000),
            evaluated_at = to_timestamp($6::double precision / 1000), sentence = $7, value = $8, burn = $9,
            window_from = to_timestamp($10::double precision / 1000), window_to = to_timestamp($6::double precision / 1000)
        where alert_rule_id = $2 and (extract(epoch from updated_at) * 1000)::bigint = $11 and exists (select from mine)",
    )
    .bind(owner)
    .bind(change.kept.id)
    .bind(change.state.name())
    .bind(change.since_ms as f64)
    .bind(quiet_since_ms.map(|ms| ms as f64))
    .bind(change.now_ms as f64)
    .bind(&change.seen.sentence)
    .bind(change.seen.value)
    .bind(change.seen.burn)
    .bind(window_from_ms as f64)
    .bind(change.kept.updated_ms)
    .execute(connection)
    .await?;
    Ok(written.rows_affected() > 0)
}

async fn write_firing(connection: &mut PgConnection, change: &Change<'_>) -> Result<(), sqlx::Error> {
    match (change.kept.state.is_firing(), change.state.is_firing()) {
        (false, true) => {
            sqlx::query(
                "insert into alert_firing (alert_rule_id, project_id, began_at, sentence)
                values ($1, $2, to_timestamp($3::double precision / 1000), $4)",
            )
            .bind(change.kept.id)
            .bind(change.kept.project.0.cast_signed())
            .bind(change.now_ms as f64)
            .bind(&change.seen.sentence)
            .execute(connection)
            .await?;
        }
        (true, false) => {
            sqlx::query(
                "update alert_firing set ended_at = greatest(began_at, to_timestamp($2::double precision / 1000))
                where alert_rule_id = $1 and ended_at is null",
            )
            .bind(change.kept.id)
            .bind(change.now_ms as f64)
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}

/// Messages that are due, oldest first; a try that dies on the way comes again after `hold_ms`.
pub async fn due(pool: &PgPool, hold_ms: i64) -> Result<Vec<Delivery>, sqlx::Error> {
    let rows = sqlx::query(
        "with due as (
            select alert_delivery_id from alert_delivery
            where delivered_at is null and gave_up_at is null and next_at <= now()
            order by next_at limit $2 for update skip locked
        )
        update alert_delivery d
        set attempts = attempts + 1, next_at = now() + $1 * interval '1 millisecond'
        from due, alert_rule r
        where d.alert_delivery_id = due.alert_delivery_id and r.alert_rule_id = d.alert_rule_id
        returning d.alert_delivery_id, d.body, d.attempts, r.receiver_url, r.receiver_secret",
    )
    .bind(hold_ms)
    .bind(DUE_MAX)
    .fetch_all(pool)
    .await?;
    let delivery = |row: &PgRow| {
        let url: Option<String> = row.try_get("receiver_url")?;
        let secret = row.try_get("receiver_secret")?;
        Ok(Delivery {
            id: row.try_get("alert_delivery_id")?,
            body: row.try_get("body")?,
            attempts: row.try_get("attempts")?,
            receiver: url.map(|url| Receiver { url, secret }),
        })
    };
    rows.iter().map(delivery).collect()
}

/// What became of a try.
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// Again after so long.
    Again {
        /// From now on.
        after_ms: i64,
        /// What was wrong.
        error: String,
    },
    /// Never again.
    GaveUp {
        /// What was wrong.
        error: String,
    },
}

/// Notes what became of a try.
pub async fn settle(pool: &PgPool, id: Uuid, outcome: &Outcome) -> Result<(), sqlx::Error> {
    let (delivered, gave_up, after_ms, error) = match outcome {
        Outcome::Delivered => (true, false, 0, None),
        Outcome::Again { after_ms, error } => (false, false, *after_ms, Some(error)),
        Outcome::GaveUp { error } => (false, true, 0, Some(error)),
    };
    sqlx::query(
        "update alert_delivery
        set delivered_at = case when $2 then now() end, gave_up_at = case when $3 then now() end,
            next_at = now() + $4 * interval '1 millisecond', last_error = $5
        where alert_delivery_id = $1",
    )
    .bind(id)
    .bind(delivered)
    .bind(gave_up)
    .bind(after_ms)
    .bind(error)
    .execute(pool)
    .await
    .map(|_| ())
}

/// Forgets what is old: messages after a month, firings after as long as the hours of the rollups are kept by default.
pub async fn sweep(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from alert_delivery
        where created_at < now() - interval '30 days' and (delivered_at is not null or gave_up_at is not null)",
    )
    .execute(pool)
    .await?;
    sqlx::query("delete from alert_firing where ended_at < now() - interval '400 days'").execute(pool).await.map(|_| ())
}

/// The columns of [`Kept`]; `$1` a project and `$2` a rule, or null for the enabled ones of all.
const SELECT_RULES: &str = "select alert_rule_id, project_id, p.name as project_name, r.name, service, env, kind, target, for_s, \
     keep_firing_s, enabled, receiver_url, receiver_secret, state, sentence, value, burn, \
     (extract(epoch from updated_at) * 1000)::bigint as updated_ms, (extract(epoch from since) * 1000)::bigint as since_ms, \
     (extract(epoch from quiet_since) * 1000)::bigint as quiet_since_ms, \
     (extract(epoch from evaluated_at) * 1000)::bigint as evaluated_ms, \
     (extract(epoch from window_from) * 1000)::bigint as window_from_ms, \
     (extract(epoch from window_to) * 1000)::bigint as window_to_ms \
     from alert_rule r join project p using (project_id) \
     where case when $1::bigint is null then enabled else project_id = $1 end and ($2::bigint is null or alert_rule_id = $2) \
     order by alert_rule_id";

fn kept(row: &PgRow) -> Result<Kept, sqlx::Error> {
    let (kind, target): (String, Value) = (row.try_get("kind")?, row.try_get("target")?);
    // What was written was checked; only a newer version could have written something else.
    let target = Target::stored(&kind, target).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let url: Option<String> = row.try_get("receiver_url")?;
    let secret = row.try_get("receiver_secret")?;
    let since_ms = row.try_get("since_ms")?;
    let state = match row.try_get("state")? {
        "pending" => State::Pending { since_ms },
        "firing" => State::Firing { since_ms, quiet_since_ms: row.try_get("quiet_since_ms")? },
        _ => State::Ok,
    };
    let window_from: Option<i64> = row.try_get("window_from_ms")?;
    Ok(Kept {
        id: row.try_get("alert_rule_id")?,
        project: ProjectId(row.try_get::<i64, _>("project_id")?.cast_unsigned()),
        project_name: row.try_get("project_name")?,
        rule: Rule {
            name: row.try_get("name")?,
            service: row.try_get("service")?,
            env: row.try_get("env")?,
            target,
            for_s: row.try_get("for_s")?,
            keep_firing_s: row.try_get("keep_firing_s")?,
            enabled: row.try_get("enabled")?,
            receiver: url.map(|url| Receiver { url, secret }),
        },
        updated_ms: row.try_get("updated_ms")?,
        state,
        since_ms,
        evaluated_ms: row.try_get("evaluated_ms")?,
        sentence: row.try_get("sentence")?,
        value: row.try_get("value")?,
        burn: row.try_get("burn")?,
        window_ms: window_from.zip(row.try_get("window_to_ms")?),
    })
}

const FIRINGS_MAX: i64 = 500;
const DUE_MAX: i64 = 20;
