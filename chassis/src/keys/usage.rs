//! How keys are used: counted in memory on the way of a request, added to Postgres in the background.
//!
//! Arrives: one call per request with a key that was found good. Leaves: per key and day the events and the last use, some
//! hosts, and what was refused and why. Promises: no request waits for the database, and none for another thread but by
//! chance; memory is bounded ([`KEYS_MAX`] and [`REASONS_MAX`]); what could not be added is added later. Does not: keep
//! books. A crash loses what was counted since the last time, and so does a database that stays away while memory is full.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::lifecycle::Shutdown;

/// Counts, in shards: a thread has its own until there are more threads than shards.
pub struct Usage {
    shards: [Mutex<Counts>; SHARDS],
    clock: Clock,
}

impl Default for Usage {
    fn default() -> Self {
        Self { shards: Default::default(), clock: Clock::system() }
    }
}

#[derive(Debug, Default)]
struct Counts {
    used: BTreeMap<u64, Used>,
    refused: BTreeMap<(u64, u64, &'static str), Refused>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Used {
    events: u64,
    requests: u64,
    last_ms: i64,
    hosts: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    count: u64,
    last_ms: i64,
    example: String,
}

impl Usage {
    /// A request with this key: events of it that were accepted, 0 for a reader. `host` is asked now and then.
    pub fn used(&self, key: u64, events: u64, host: impl FnOnce() -> Option<String>) {
        let mut counts = self.shard();
        if counts.used.len() >= KEYS_MAX && !counts.used.contains_key(&key) {
            return;
        }
        let used = counts.used.entry(key).or_default();
        if events > 0 && used.requests.is_multiple_of(HOST_EVERY) && used.hosts.len() < HOSTS_MAX {
            used.hosts.extend(host().filter(|host| host.len() <= HOST_BYTES_MAX));
        }
        used.requests += 1;
        used.events += events;
        used.last_ms = used.last_ms.max(self.clock.now_ms());
    }

    /// Something that was sent with this key and not accepted. `example` is what the sender is told.
    pub fn refused(&self, project: u64, key: u64, reason: &'static str, count: u64, example: &str) {
        let mut counts = self.shard();
        let name = (project, key, reason);
        if counts.refused.len() >= REASONS_MAX && !counts.refused.contains_key(&name) {
            return;
        }
        let last_ms = self.clock.now_ms();
        let refused = counts.refused.entry(name).or_insert_with(|| {
            let example = example.chars().filter(|c| *c != '\0').take(EXAMPLE_CHARS_MAX).collect();
            Refused { count: 0, last_ms, example }
        });
        refused.count += count;
        refused.last_ms = last_ms;
    }

    fn shard(&self) -> parking_lot::MutexGuard<'_, Counts> {
        self.shards[SHARD.get() % SHARDS].lock()
    }

    /// Adds what was counted to Postgres, again and again, and once more at the end.
    pub async fn add_until(&self, pool: PgPool, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                () = tokio::time::sleep(ADD_INTERVAL) => {}
            }
            if let Err(error) = self.add(&pool).await {
                tracing::debug!(%error, "the use of keys could not be noted; later");
            }
        }
        let last = tokio::time::timeout(LAST_TIME_MAX, self.add(&pool)).await;
        if !matches!(last, Ok(Ok(()))) {
            tracing::debug!("the use of keys during the last seconds was not noted");
        }
    }

    /// Adds what was counted so far.
    ///
    /// # Errors
    /// When the database refuses; nothing is lost then.
    pub async fn add(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut all = Counts::default();
        for shard in &self.shards {
            all.take_in(std::mem::take(&mut *shard.lock()));
        }
        let added = all.add(pool).await;
        if added.is_err() {
            self.shard().take_in(all);
        }
        added
    }
}

impl Counts {
    fn take_in(&mut self, other: Self) {
        for (key, more) in other.used {
            let used = self.used.entry(key).or_default();
            used.events += more.events;
            used.requests += more.requests;
            used.last_ms = used.last_ms.max(more.last_ms);
            let room = HOSTS_MAX.saturating_sub(used.hosts.len());
            used.hosts.extend(more.hosts.into_iter().take(room));
        }
        for (name, more) in other.refused {
            match self.refused.entry(name) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(more)),
                std::collections::btree_map::Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.count += more.count;
                    if more.last_ms >= known.last_ms {
                        (known.last_ms, known.example) = (more.last_ms, more.example);
                    }
                }
            }
        }
    }

    /// In the order of the keys, so that two processes that add at once wait for each other and never in a circle.
    async fn add(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        if self.used.is_empty() && self.refused.is_empty() {
            return Ok(());
        }
        let mut transaction = pool.begin().await?;
        let column = |of: fn(&Used) -> i64| self.used.values().map(of).collect::<Vec<i64>>();
        let keys: Vec<i64> = self.used.keys().map(|key| key.cast_signed()).collect();
        let hosts: Vec<String> = self.used.values().map(|used| serialized(&used.hosts)).collect();
        sqlx::query(
            "insert into key_usage as known (key_id, day, events, last_used_at, hosts)
             select k.key_id, (to_timestamp(u.last_ms / 1000.0) at time zone 'utc')::date, u.events,
                    to_timestamp(u.last_ms / 1000.0), array(select jsonb_array_elements_text(u.hosts::jsonb))
               from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) as u (key_id, events, last_ms, hosts)
               join api_key k using (key_id)
              order by k.key_id
             on conflict (key_id, day) do update set
                 events = known.events + excluded.events,
                 last_used_at = greatest(known.last_used_at, excluded.last_used_at),
                 hosts = (
                     select coalesce(array_agg(host), '{}') from (
                         select host from unnest(excluded.hosts) as host
                         union
                         select host from unnest(known.hosts) as host where known.hosts_since > now() - interval '1 hour'
                         limit 20
                     ) as merged
                 ),
                 hosts_since = case when known.hosts_since > now() - interval '1 hour' then known.hosts_since else now() end",
        )
        .bind(keys)
        .bind(column(|used| used.events.cast_signed()))
        .bind(column(|used| used.last_ms))
        .bind(hosts)
        .execute(&mut *transaction)
        .await?;
        self.add_refused(&mut transaction).await?;
        transaction.commit().await
    }

    async fn add_refused(&self, connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let names: Vec<&(u64, u64, &str)> = self.refused.keys().collect();
        sqlx::query(
            "insert into ingest_refusal as known (project_id, hour, key_id, reason, count, last_at, example)
             select project_id, date_trunc('hour', to_timestamp(last_ms / 1000.0) at time zone 'utc') at time zone 'utc',
                    key_id, reason, count, to_timestamp(last_ms / 1000.0), example
               from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
                    as r (project_id, key_id, reason, count, last_ms, example)
              order by project_id, key_id, reason
             on conflict (project_id, hour, key_id, reason) do update set
                 count = known.count + excluded.count,
                 last_at = greatest(known.last_at, excluded.last_at),
                 example = excluded.example",
        )
        .bind(names.iter().map(|(project, _, _)| project.cast_signed()).collect::<Vec<_>>())
        .bind(names.iter().map(|(_, key, _)| key.cast_signed()).collect::<Vec<_>>())
        .bind(names.iter().map(|(_, _, reason)| (*reason).to_owned()).collect::<Vec<_>>())
        .bind(self.refused.values().map(|refused| refused.count.cast_signed()).collect::<Vec<_>>())
        .bind(self.refused.values().map(|refused| refused.last_ms).collect::<Vec<_>>())
        .bind(self.refused.values().map(|refused| refused.example.clone()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
        // A look at the index, mostly for nothing.
        sqlx::query("delete from ingest_refusal where hour < now() - interval '30 days'").execute(connection).await?;
        Ok(())
    }
}

/// As JSON: an array of arrays is no type of Postgres when their lengths differ.
fn serialized(hosts: &BTreeSet<String>) -> String {
    let clean = |host: &String| host.replace('\0', "");
    serde_json::to_string(&hosts.iter().map(clean).collect::<Vec<_>>()).unwrap_or_else(|_| "[]".to_owned())
}

thread_local! {
    static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
}
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// More than ingest has workers on most machines.
const SHARDS: usize = 16;
/// For each shard; some hundred bytes each.
const KEYS_MAX: usize = 4096;
const REASONS_MAX: usize = 1024;
/// In how many requests of a key, for each thread, a host is looked at.
const HOST_EVERY: u64 = 32;
const HOSTS_MAX: usize = 20;
const HOST_BYTES_MAX: usize = 256;
const EXAMPLE_CHARS_MAX: usize = 300;
const ADD_INTERVAL: Duration = Duration::from_secs(10);
const LAST_TIME_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn all(usage: &Usage) -> Counts {
        let mut all = Counts::default();
        usage.shards.iter().for_each(|shard| all.take_in(std::mem::take(&mut *shard.lock())));
        all
    }

    #[test]
    fn threads_count_apart_and_nothing_is_lost() {
        let usage = Usage::default();
        std::thread::scope(|scope| {
            for thread in 0..20 {
                let usage = &usage;
                scope.spawn(move || {
                    for _ in 0..100 {
                        usage.used(7, 3, || Some(format!("web-{}", thread % 3)));
                        usage.refused(1, 7, "invalid_duration", 2, "event 0: too long");
                    }
                });
            }
        });
        let all = all(&usage);
        let used = &all.used[&7];
        assert_eq!((used.events, used.requests, used.hosts.len()), (6000, 2000, 3));
        assert_eq!(all.refused[&(1, 7, "invalid_duration")].count, 4000);
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let usage = Usage::default();
        for key in 0..10_000 {
            usage.used(key, 1, || Some("x".repeat(1000)));
            usage.refused(key, key, "forbidden", 1, &"y".repeat(10_000));
        }
        let all = all(&usage);
        assert_eq!((all.used.len(), all.refused.len()), (KEYS_MAX, REASONS_MAX));
        assert!(all.used.values().all(|used| used.hosts.is_empty()));
        assert!(all.refused.values().all(|refused| refused.example.len() == EXAMPLE_CHARS_MAX));
    }

    #[test]
    fn a_reader_has_no_host() {
        let usage = Usage::default();
        usage.used(1, 0, || panic!("nobody asks"));
        assert_eq!(all(&usage).used[&1].events, 0);
    }
}
