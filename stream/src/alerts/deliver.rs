//! Tells receivers what has to be told.
//!
//! Arrives: messages that are due. Leaves: what became of each. Promises: a message is sent until its receiver takes it (2xx), for
//! about a day, with pauses that double; the same bytes every time, with the same id, so that a receiver can tell a second try from
//! news. At least once: a process that dies between sending and noting it sends again. What a receiver refuses for good (4xx but
//! 408 and 429, or an address that is not allowed) is not tried again. Does not: decide what is told.

use std::time::Duration;

use peep_chassis::clock::Clock;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::measure::Seen;
use super::store::{self, Delivery, Kept, Outcome};
use super::webhook::{Answered, WebhookError, Webhooks};
use crate::{metrics, names};

/// Sends what is due; answers how much that was.
pub async fn round(pool: &PgPool, webhooks: &Webhooks, clock: &Clock) -> Result<usize, sqlx::Error> {
    let due = store::due(pool, HOLD_MS).await?;
    let count = due.len();
    let mut tries = tokio::task::JoinSet::new();
    for delivery in due {
        let (webhooks, pool, now_ms) = (webhooks.clone(), pool.clone(), clock.now_ms());
        tries.spawn(async move {
            let outcome = attempt(&webhooks, &delivery, now_ms).await;
            metrics::alert_delivery(&outcome);
            if let Outcome::GaveUp { error } = &outcome {
                tracing::warn!(delivery = %delivery.id, attempts = delivery.attempts, error, "an alert could not be delivered");
            }
            store::settle(&pool, delivery.id, &outcome).await
        });
    }
    while let Some(settled) = tries.join_next().await {
        if let Ok(Err(error)) = settled {
            tracing::warn!(%error, "what became of an alert's message could not be noted; it is sent again");
        }
    }
    Ok(count)
}

async fn attempt(webhooks: &Webhooks, delivery: &Delivery, now_ms: i64) -> Outcome {
    let Some(receiver) = &delivery.receiver else {
        return Outcome::GaveUp { error: "the rule has no receiver any more".into() };
    };
    judge(webhooks.send(receiver, delivery.body.clone(), now_ms).await, delivery.attempts)
}

/// What an answer means for the next try.
fn judge(answered: Result<Answered, WebhookError>, attempts: i32) -> Outcome {
    let again = |error: String| {
        if attempts >= ATTEMPTS_MAX {
            Outcome::GaveUp { error }
        } else {
            Outcome::Again { after_ms: pause_ms(attempts), error }
        }
    };
    match answered {
        Ok(answered) if (200..300).contains(&answered.status) => Outcome::Delivered,
        Ok(answered) => {
            let error = format!("the receiver answered {}", answered.status);
            let for_good = (300..500).contains(&answered.status) && !matches!(answered.status, 408 | 429);
            if for_good { Outcome::GaveUp { error } } else { again(error) }
        }
        Err(WebhookError::Refused(error)) => Outcome::GaveUp { error },
        Err(WebhookError::Failed(error)) => again(error),
    }
}

/// 5 s, 10 s, 20 s, … at most an hour; shorter by up to a quarter, so that what failed together does not come back together.
fn pause_ms(attempts: i32) -> i64 {
    let doublings = attempts.clamp(1, 20).unsigned_abs() - 1;
    let whole_ms = (PAUSE_MS << doublings).min(PAUSE_MS_MAX);
    let random = i64::from(Uuid::new_v4().as_bytes()[0]);
    whole_ms - whole_ms / 4 * random / 255
}

/// The body about a rule that began or ceased to fire.
pub fn message(id: Uuid, event: &'static str, kept: &Kept, seen: &Seen, since_ms: i64, now_ms: i64) -> String {
    let rule = &kept.rule;
    let text = format!("[{event}] {}: {}", names::isolated(&rule.name), seen.sentence);
    json!({
        "version": 1,
        "id": id.to_string(),
        "event": event,
        "at_ms": now_ms,
        "project": kept.project_name,
        "rule": {
            "id": kept.id.to_string(),
            "name": rule.name,
            "kind": rule.target.kind(),
            "service": rule.service,
            "env": rule.env,
            "target": rule.target.to_json(),
        },
        "since_ms": since_ms,
        "until_ms": (event == "resolved").then_some(now_ms),
        "window": {"from_ms": now_ms - seen.window_s * 1000, "to_ms": now_ms},
        "value": seen.value,
        "burn": seen.burn,
        "sentence": seen.sentence,
        // What chat services show.
        "text": text,
    })
    .to_string()
}

/// The body of a test.
pub fn test_message(project: &str, now_ms: i64) -> String {
    let sentence = "This is a test: alerts of this project arrive here.";
    json!({
        "version": 1,
        "id": Uuid::new_v4().to_string(),
        "event": "test",
        "at_ms": now_ms,
        "project": project,
        "rule": Value::Null,
        "since_ms": now_ms,
        "until_ms": Value::Null,
        "window": Value::Null,
        "value": Value::Null,
        "burn": Value::Null,
        "sentence": sentence,
        "text": format!("[test] {sentence}"),
    })
    .to_string()
}

/// Pause between two looks at what is due.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Longer than a try takes.
const HOLD_MS: i64 = 30_000;
const PAUSE_MS: i64 = 5_000;
const PAUSE_MS_MAX: i64 = 3_600_000;
/// With the pauses between them, a day.
const ATTEMPTS_MAX: i32 = 33;

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Result<Answered, WebhookError> {
        Ok(Answered { status, body: String::new(), took: Duration::ZERO })
    }

    #[test]
    fn what_may_work_later_is_tried_again_and_nothing_else_is() {
        let name = |outcome: Outcome| match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Again { .. } => "again",
            Outcome::GaveUp { .. } => "gave up",
        };
        for (status, expected) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "gave up"),
            (400, "gave up"),
            (404, "gave up"),
            (410, "gave up"),
            (408, "again"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
        ] {
            assert_eq!(name(judge(answered(status), 1)), expected, "{status}");
        }
        assert_eq!(name(judge(Err(WebhookError::Failed("away".into())), 1)), "again");
        assert_eq!(name(judge(Err(WebhookError::Refused("private".into())), 1)), "gave up");
        assert_eq!(name(judge(answered(503), ATTEMPTS_MAX)), "gave up");
    }

    #[test]
    fn pauses_double_to_an_hour_and_last_a_day_together() {
        for (attempts, whole_ms) in
            [(1, 5_000), (2, 10_000), (3, 20_000), (10, 2_560_000), (11, 3_600_000), (33, 3_600_000)]
        {
            let pause_ms = pause_ms(attempts);
            assert!((whole_ms * 3 / 4..=whole_ms).contains(&pause_ms), "{attempts}: {pause_ms}");
        }
        let shortest_ms: i64 =
            (1..ATTEMPTS_MAX).map(|attempts| (PAUSE_MS << (attempts - 1).min(19)).min(PAUSE_MS_MAX) * 3 / 4).sum();
        assert!((16..24).contains(&(shortest_ms / 3_600_000)), "{shortest_ms}");
    }
}
