//! Every knob of the rollup.

use std::time::Duration;

use peep_chassis::config::Settings;

use crate::cardinality::SeriesLimits;
use crate::dedup::DedupLimits;
use crate::facet::FacetLimits;
use crate::level::leveler::LevelerLimits;
use crate::partition::PartitionLimits;
use crate::raw::RawLimits;
use crate::retention::Retention;

/// The rollup as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Between two live frames of a partition. Shorter: fresher charts, more records on the live topic.
    pub publish_interval: Duration,
    /// From the first uncommitted record to its flush. Longer: fewer and larger rows, more to read again after a crash.
    pub flush_interval: Duration,
    /// A partition with this much to write is flushed at once.
    pub flush_bytes_max: usize,
    /// Windows, samples, running flushes and series of all partitions. At half of it partitions flush early, at all of it
    /// they stop reading until something is written; the log holds the rest.
    pub memory_bytes_max: usize,
    /// Partitions one worker takes at most. All by default, so that one worker is enough.
    pub partitions_max: u64,
    /// Flushes at the same time, each on a connection of its own.
    pub flushes_max: u64,
    /// Above this rate raw events are sampled.
    pub raw_events_per_second_max: u64,
    /// How many may be kept at once after a quiet time.
    pub raw_burst_events_max: u64,
    /// Age at which raw events are dropped, six hours at a time.
    pub raw_retention: Duration,
    /// Age at which rollups in ten seconds are dropped, a day at a time. Older times are answered in minutes.
    pub retention: Duration,
    /// Age at which rollups in minutes are dropped, and dead letters and duplicates forgotten. Older times are answered in hours.
    pub retention_1m: Duration,
    /// Age at which rollups in hours and the books are dropped, ten days at a time: the end of all memory.
    pub retention_1h: Duration,
    /// How often rollups in minutes are made from those in ten seconds; hours ten times less often. Longer: fewer writes, and
    /// long ranges read more rows.
    pub level_interval: Duration,
    /// Events that ended longer before their receipt are dead-lettered. Wider than ingest's limit: a second net.
    pub event_age_max: Duration,
    /// Events that ended further after their receipt are dead-lettered.
    pub event_ahead_max: Duration,
    /// Log time without a sign of life after which a producer's past batches are forgotten. Longer: clients may retry later,
    /// and `dedup_window` has more rows.
    pub dedup_retention: Duration,
    /// Producers of a project remembered by each partition. Beyond it the one not heard of for longest is forgotten, and what
    /// it sends next is counted as uncertain.
    pub producers_max: u64,
    /// Series of a project on one partition and on two days that have a place of their own. The events of all further ones
    /// are counted by service, method and class of status.
    pub series_max: u64,
    /// The same for all projects together: the memory.
    pub series_total_max: u64,
    /// Versions, and likewise hosts, of a service and environment on one partition and on two days that have a place of their
    /// own. More: more rows for services with many short-lived hosts.
    pub facets_max: u64,
}

impl Config {
    /// Reads and registers the knobs.
    pub fn read(settings: &mut Settings<'_>) -> Config {
        let config = Config {
            publish_interval: settings.duration_ms(
                "PEEP_ROLLUP_PUBLISH_INTERVAL",
                200,
                20..=10_000,
                "between two live frames of a partition",
            ),
            flush_interval: settings.duration_ms(
                "PEEP_ROLLUP_FLUSH_INTERVAL",
                5_000,
                50..=600_000,
                "from the first uncommitted record of a partition to its flush to Postgres",
            ),
            flush_bytes_max: settings.bytes(
                "PEEP_ROLLUP_FLUSH_BYTES_MAX",
                8 * MIB,
                64 * KIB..=GIB,
                "a partition with this much to write is flushed at once",
            ),
            memory_bytes_max: settings.bytes(
                "PEEP_ROLLUP_MEMORY_BYTES_MAX",
                256 * MIB,
                16 * MIB..=64 * GIB,
                "bytes of windows, samples and series in memory; at the limit the rollup stops reading until it has flushed",
            ),
            partitions_max: settings.u64(
                "PEEP_ROLLUP_PARTITIONS_MAX",
                1024,
                1..=1024,
                "partitions of the log that one worker takes at most",
            ),
            flushes_max: settings.u64(
                "PEEP_ROLLUP_FLUSHES_MAX",
                4,
                1..=64,
                "flushes at the same time, each on a Postgres connection of its own",
            ),
            raw_events_per_second_max: settings.u64(
                "PEEP_ROLLUP_RAW_EVENTS_PER_SECOND_MAX",
                1_000,
                1..=1_000_000,
                "raw events kept per second and partition; above it all errors (up to four times as many), the slowest of \
                 each series and a weighted sample of the rest",
            ),
            raw_burst_events_max: settings.u64(
                "PEEP_ROLLUP_RAW_BURST_EVENTS_MAX",
                20_000,
                1..=10_000_000,
                "raw events of a partition that may be kept at once after a quiet time, such as an old log being shipped; \
                 paid back at the rate above",
            ),
            raw_retention: settings.duration_ms(
                "PEEP_ROLLUP_RAW_RETENTION",
                2 * DAY_MS,
                HOUR_MS..=90 * DAY_MS,
                "age at which raw events are dropped",
            ),
            retention: settings.duration_ms(
                "PEEP_ROLLUP_RETENTION",
                3 * DAY_MS,
                DAY_MS..=3_650 * DAY_MS,
                "age at which rollups in ten seconds are dropped; older times are answered in minutes",
            ),
            retention_1m: settings.duration_ms(
                "PEEP_ROLLUP_RETENTION_1M",
                35 * DAY_MS,
                DAY_MS..=3_650 * DAY_MS,
                "age at which rollups in minutes are dropped, and dead letters and duplicates forgotten; older times are \
                 answered in hours",
            ),
            retention_1h: settings.duration_ms(
                "PEEP_ROLLUP_RETENTION_1H",
                400 * DAY_MS,
                DAY_MS..=36_500 * DAY_MS,
                "age at which rollups in hours and the books are dropped",
            ),
            level_interval: settings.duration_ms(
                "PEEP_ROLLUP_LEVEL_INTERVAL",
                60_000,
                100..=3_600_000,
                "how often rollups in minutes are made from those in ten seconds; hours are made ten times less often",
            ),
            event_age_max: settings.duration_ms(
                "PEEP_ROLLUP_EVENT_AGE_MAX",
                31 * DAY_MS,
                HOUR_MS..=3_660 * DAY_MS,
                "events that ended longer before their receipt are dead-lettered; a day more than ingest accepts, so that \
                 it catches only records that no healthy ingest wrote",
            ),
            event_ahead_max: settings.duration_ms(
                "PEEP_ROLLUP_EVENT_AHEAD_MAX",
                10 * 60_000,
                1_000..=2 * DAY_MS,
                "events that ended further after their receipt are dead-lettered; twice what ingest accepts",
            ),
            dedup_retention: settings.duration_ms(
                "PEEP_ROLLUP_DEDUP_RETENTION",
                DAY_MS,
                60_000..=30 * DAY_MS,
                "how long after its last batch a producer is remembered, so that a retry is recognised",
            ),
            producers_max: settings.u64(
                "PEEP_ROLLUP_PRODUCERS_MAX",
                20_000,
                1..=1_000_000,
                "producers of one project that a partition remembers; beyond it the one not heard of for longest is forgotten",
            ),
            series_max: settings.u64(
                "PEEP_ROLLUP_SERIES_MAX",
                10_000,
                1..=1_000_000,
                "series of one project that a partition counts one by one within two days; events of further ones are counted \
                 in `(other)` routes, exactly, by service, method and class of status",
            ),
            series_total_max: settings.u64(
                "PEEP_ROLLUP_SERIES_TOTAL_MAX",
                100_000,
                1..=10_000_000,
                "the same for all projects together; about 24 bytes of memory each",
            ),
            facets_max: settings.u64(
                "PEEP_ROLLUP_FACETS_MAX",
                1_000,
                1..=100_000,
                "versions, and likewise hosts, of one service and environment that a partition counts one by one within two \
                 days; events of further ones are counted in `(other)`; of all together no more than \
                 PEEP_ROLLUP_SERIES_TOTAL_MAX",
            ),
        };
        if config.retention_1m < config.retention {
            settings.problem("PEEP_ROLLUP_RETENTION_1M", "is shorter than PEEP_ROLLUP_RETENTION");
        }
        if config.retention_1h < config.retention_1m {
            settings.problem("PEEP_ROLLUP_RETENTION_1H", "is shorter than PEEP_ROLLUP_RETENTION_1M");
        }
        if config.flush_interval < config.publish_interval {
            settings.problem("PEEP_ROLLUP_FLUSH_INTERVAL", "is shorter than PEEP_ROLLUP_PUBLISH_INTERVAL");
        }
        if 2 * config.flush_bytes_max > config.memory_bytes_max {
            settings.problem("PEEP_ROLLUP_FLUSH_BYTES_MAX", "is more than half of PEEP_ROLLUP_MEMORY_BYTES_MAX");
        }
        config
    }

    /// What is kept for how long.
    pub fn keep(&self) -> Retention {
        Retention {
            ten_seconds: self.retention,
            minutes: self.retention_1m,
            hours: self.retention_1h,
            raw: self.raw_retention,
            dedup: self.dedup_retention,
        }
    }

    /// What the leveler needs of it.
    pub fn leveler_limits(&self) -> LevelerLimits {
        // Beside the windows: an eighth of what they may take.
        LevelerLimits {
            interval: self.level_interval,
            bytes_max: (self.memory_bytes_max / 8).max(8 * MIB),
            flushes_max: LevelerLimits::FLUSHES_MAX,
        }
    }

    /// What a partition needs of it, when the worker shares its memory between `partitions`.
    pub fn partition_limits(&self, partitions: u32) -> PartitionLimits {
        // An eighth of the memory for raw events, and never less than a few of the largest: an event is at most 150 KB.
        let raw_bytes_max = (self.memory_bytes_max / 8 / partitions.max(1) as usize).clamp(MIB, 256 * MIB);
        PartitionLimits {
            event_age_max: self.event_age_max,
            event_ahead_max: self.event_ahead_max,
            raw_age_max: self.raw_retention,
            raw: RawLimits {
                events_per_second_max: u32::try_from(self.raw_events_per_second_max).unwrap_or(u32::MAX),
                burst_events_max: u32::try_from(self.raw_burst_events_max).unwrap_or(u32::MAX),
                bytes_max: raw_bytes_max,
            },
            dedup: DedupLimits {
                retention_ms: i64::try_from(self.dedup_retention.as_millis()).unwrap_or(i64::MAX),
                producers_max: usize::try_from(self.producers_max).unwrap_or(usize::MAX),
                // A quarter of the memory in all: 64 MiB by default. It stays when everything else is flushed, so it must be
                // well below the half at which flushing early begins.
                bytes_max: (self.memory_bytes_max / 4 / partitions.max(1) as usize).max(DEDUP_BYTES_MIN),
            },
            series: SeriesLimits {
                series_max: usize::try_from(self.series_max).unwrap_or(usize::MAX),
                total_max: usize::try_from(self.series_total_max).unwrap_or(usize::MAX),
                folds_max: FOLDS_MAX,
            },
            facets: FacetLimits {
                per_scope_max: usize::try_from(self.facets_max).unwrap_or(usize::MAX),
                total_max: usize::try_from(self.series_total_max).unwrap_or(usize::MAX),
            },
        }
    }
}

/// Services times methods times classes of a project without any place left.
const FOLDS_MAX: usize = 1_000;
/// A few hundred producers, should a small memory be shared by a thousand partitions.
const DEDUP_BYTES_MIN: usize = 128 * KIB;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let env: BTreeMap<String, String> = BTreeMap::new();
        let mut settings = Settings::new(&env);
        let config = Config::read(&mut settings);
        assert_eq!(config.publish_interval, Duration::from_millis(200));
        let days = [config.retention, config.retention_1m, config.retention_1h].map(|keep| keep.as_secs() / 86_400);
        assert_eq!(days, [3, 35, 400]);
        assert!(settings.finish().is_ok());
    }

    #[test]
    fn a_coarse_level_is_kept_no_shorter_than_a_fine_one() {
        let env: BTreeMap<&str, &str> =
            BTreeMap::from([("PEEP_ROLLUP_RETENTION_1M", "2d"), ("PEEP_ROLLUP_RETENTION_1H", "1d")]);
        let mut settings = Settings::new(&env);
        Config::read(&mut settings);
        assert_eq!(settings.finish().unwrap_err().problems.len(), 2);
    }

    #[test]
    fn a_flush_larger_than_memory_is_refused() {
        let env: BTreeMap<&str, &str> =
            BTreeMap::from([("PEEP_ROLLUP_MEMORY_BYTES_MAX", "16MiB"), ("PEEP_ROLLUP_FLUSH_BYTES_MAX", "16MiB")]);
        let mut settings = Settings::new(&env);
        Config::read(&mut settings);
        let errors = settings.finish().unwrap_err();
        assert_eq!(errors.problems.len(), 1);
    }
}
