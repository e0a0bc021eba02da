use peep_wire::histogram::Histogram;
use proptest::prelude::*;

use super::*;

/// A piece as the table would hold it.
struct Row {
    series_id: i64,
    cell: Cell,
    histogram: Vec<u8>,
    last_s: i64,
}

impl Row {
    fn new(series_id: i64, last_s: i64, durations: &[Option<u64>]) -> Self {
        let mut cell = Cell::default();
        durations.iter().for_each(|duration| cell.record(*duration, duration.is_none()));
        let mut histogram = Vec::new();
        cell.histogram.encode_v2(&mut histogram);
        Self { series_id, cell, histogram, last_s }
    }

    fn stored(&self) -> Stored<'_> {
        let totals = self.cell.histogram.totals();
        let latency = totals.map(|totals| (self.histogram.as_slice(), totals.min_us, totals.max_us));
        Stored { series_id: self.series_id, sums: Sums::of(&self.cell), latency, last_s: self.last_s }
    }
}

#[test]
fn pieces_of_a_series_become_one_with_the_latest_of_their_seconds() {
    let mut merger = Merger::default();
    for row in [Row::new(7, 50, &[Some(5), None]), Row::new(3, 10, &[None]), Row::new(7, 20, &[Some(9_000)])] {
        merger.add(&row.stored()).unwrap();
    }
    let expected = Sums { count: 4, errors: 2, latency_count: 2, sum_us: 9_005 };
    assert_eq!(merger.taken(), expected);
    let merged: Vec<(i64, Merged)> = merger.into_series().collect();
    assert_eq!(merged.iter().map(|(series, merged)| (*series, merged.last_s)).collect::<Vec<_>>(), [(3, 10), (7, 50)]);
    assert_eq!(merged.iter().map(|(_, merged)| Sums::of(&merged.cell)).sum::<Sums>(), expected);
}

#[test]
fn a_piece_that_contradicts_itself_is_refused() {
    let row = Row::new(1, 0, &[Some(5), Some(6)]);
    let mut said = row.stored();
    said.sums.latency_count = 3;
    let error = Merger::default().add(&said).unwrap_err();
    assert_eq!(error, MergeError::Durations { series_id: 1, said: 3, held: 2 });
    let mut missing = row.stored();
    missing.latency = None;
    assert!(Merger::default().add(&missing).is_err());
    let mut cut = row.stored();
    cut.latency = Some((&row.histogram[..20], 5, 6));
    assert!(matches!(Merger::default().add(&cut), Err(MergeError::Histogram { series_id: 1, .. })));
}

#[test]
fn memory_follows_the_series_and_their_histograms() {
    let mut merger = Merger::default();
    for series in 0..100 {
        merger.add(&Row::new(series, 0, &[Some(1)]).stored()).unwrap();
    }
    let few = merger.memory_bytes();
    assert!(few >= 100 * size_of::<Histogram>());
    let durations: Vec<Option<u64>> = (0..10_000).map(|step| Some(step * 997)).collect();
    merger.add(&Row::new(5, 0, &durations).stored()).unwrap();
    assert!(merger.memory_bytes() > few + 4096);
}

#[test]
fn a_flush_writes_each_window_where_it_is_still_kept() {
    let horizons = Horizons { ten_seconds_s: 172_800, minute_s: 86_400, hour_s: 0 };
    let levels = [172_800, 172_790, 86_400, 86_390, -10].map(|window_s| horizons.level_of(window_s));
    assert_eq!(levels, [Level::TenSeconds, Level::Minute, Level::Minute, Level::Hour, Level::Hour]);
    assert_eq!([59, 60, -1].map(|second| Level::Minute.start_of(second)), [0, 60, -60]);
}

proptest! {
    #[test]
    fn any_grouping_into_levels_gives_the_same_sums_and_histograms(
        events in prop::collection::vec((0..3i64, 0..7_200i64, prop::option::of(0..3_600_000_000u64)), 1..200),
        cuts in prop::collection::vec(0..200usize, 0..6),
    ) {
        // Ten-second pieces of some flushes, minutes out of these, hours out of those; and hours at once.
        let mut minutes: BTreeMap<(usize, i64), Merger> = BTreeMap::new();
        let mut direct = BTreeMap::<i64, Merger>::new();
        for (at, (series, second, duration)) in events.iter().enumerate() {
            let flush = cuts.iter().filter(|cut| **cut <= at).count();
            let row = Row::new(*series, window_of(*second), &[*duration]);
            let minute = Level::Minute.start_of(*second);
            minutes.entry((flush, minute)).or_default().add(&row.stored()).unwrap();
            direct.entry(Level::Hour.start_of(*second)).or_default().add_cell(*series, window_of(*second), &row.cell);
        }
        let mut hours = BTreeMap::<i64, Merger>::new();
        for ((_, minute), merger) in minutes {
            for (series_id, merged) in merger.into_series() {
                let mut histogram = Vec::new();
                merged.cell.histogram.encode_v2(&mut histogram);
                let row = Row { series_id, cell: merged.cell, histogram, last_s: merged.last_s };
                hours.entry(Level::Hour.start_of(minute)).or_default().add(&row.stored()).unwrap();
            }
        }
        let all = |levels: BTreeMap<i64, Merger>| -> Vec<(i64, Vec<(i64, Merged)>)> {
            levels.into_iter().map(|(hour, merger)| (hour, merger.into_series().collect())).collect()
        };
        prop_assert_eq!(all(hours), all(direct));
    }
}
