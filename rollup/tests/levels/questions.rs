//! The reader's side: answers over any range, while flushes, levelers and retention are at work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peep_rollup::level::Level;
use peep_rollup::level::leveler::Due;
use peep_rollup::retention;
use peep_stream::closed::Closed;
use peep_stream::grouped::{Grouped, Question};
use peep_stream::history::{self, HistoryError, HistoryLimits};
use peep_stream::labels::{Dimension, Filters, GroupBy};
use peep_stream::levels::Horizons;
use peep_stream::query::Window;
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use sqlx::PgPool;

use crate::stack::{Sent, Stack, now_ms};
use crate::view::View;
use crate::{DAY_S, Past, keep, leveler, round, without_leveler};

const LIMITS: HistoryLimits = HistoryLimits { rows_max: 1_000_000, statement_timeout: Duration::from_secs(10) };

/// By route, or host, and step: events, failed ones and durations.
type Answer = BTreeMap<(String, i64), (u64, u64, Histogram)>;

/// Who asks, and what he remembers.
struct Asker {
    pool: PgPool,
    closed: Closed,
}

impl Asker {
    fn new(stack: &Stack) -> Self {
        Self { pool: stack.pool.clone(), closed: Closed::at_any_cost(16 << 20) }
    }
}

async fn ask(
    asker: &Asker,
    window: Window,
    route: Option<&str>,
    limits: HistoryLimits,
) -> Result<Answer, HistoryError> {
    let filters = Filters { route: route.into_iter().map(str::to_owned).collect(), ..Filters::default() };
    ask_by(asker, window, Dimension::Route, filters, true, limits).await
}

/// Without `statuses`, an answer about whole services may be the sum of their versions.
async fn ask_by(
    asker: &Asker,
    window: Window,
    dimension: Dimension,
    filters: Filters,
    statuses: bool,
    limits: HistoryLimits,
) -> Result<Answer, HistoryError> {
    let group_by = GroupBy::new([dimension]);
    let question = Question { project: ProjectId(1), window, filters, group_by, statuses };
    let mut grouped = Grouped::new(question, 256 << 20);
    history::read(&asker.pool, &mut grouped, now_ms(), limits, &asker.closed).await?;
    let mut answer = Answer::new();
    for group in grouped.into_groups(1_000) {
        // Groups are told apart by their key, whatever it looks like.
        let key = format!("{:?}", group.key);
        for (step, figures) in group.steps {
            answer.insert((key.clone(), step), (figures.count, figures.errors, figures.latency));
        }
    }
    Ok(answer)
}

/// The same from the events themselves.
fn expected<'s>(
    sent: impl Iterator<Item = &'s Sent>,
    window: Window,
    value_of: fn(&Sent) -> &str,
    wanted: Option<&str>,
) -> Vec<(u64, u64, Histogram)> {
    let mut answer: BTreeMap<(&str, i64), (u64, u64, Histogram)> = BTreeMap::new();
    for event in sent.filter(|event| wanted.is_none_or(|wanted| value_of(event) == wanted)) {
        let Some(step) = window.step_of(event.ended_ms.div_euclid(10_000) * 10) else { continue };
        let sum = answer.entry((value_of(event), step)).or_default();
        sum.0 += 1;
        sum.1 += u64::from(event.status >= 500);
        sum.2.record(event.duration_us);
    }
    answer.into_values().collect()
}

/// Windows of every kind, all of them answerable under these horizons.
fn windows(horizons: &Horizons) -> Vec<Window> {
    let now_s = now_ms() / 1000;
    let whole = |from_s: i64, to_s: i64| {
        let (from_s, to_s) = (from_s / 10 * 10, to_s / 10 * 10);
        horizons.widen(Window { from_s, to_s, step_s: to_s - from_s })
    };
    let mut windows = vec![
        whole(now_s - 900, now_s + 10),
        whole(now_s - 3_700, now_s - 1_230),
        whole(now_s - 10 * 3_600 - 7, now_s + 10),
        whole(now_s - 2 * DAY_S + 5_550, now_s - 1_110),
        whole(now_s - 7 * DAY_S, now_s + 10),
        whole(now_s - 5 * DAY_S + 11, now_s - 4 * DAY_S + 77),
    ];
    for (days, step_s) in [(7, 3_600), (7, 6 * 3_600), (7, DAY_S), (2, 300), (1, 60)] {
        let from_s = now_s - days * DAY_S;
        if step_s % horizons.step_s_min(from_s / step_s * step_s) == 0 {
            windows.push(Window { from_s: from_s / step_s * step_s, to_s: (now_s / step_s + 1) * step_s, step_s });
        }
    }
    windows
}

async fn assert_answers(asker: &Asker, sent: &[Past]) {
    let horizons = {
        let mut connection = asker.pool.acquire().await.unwrap();
        history::read_horizons(&mut connection).await.unwrap()
    };
    for window in windows(&horizons) {
        for route in [None, Some("/1")] {
            let answer = ask(asker, window, route, LIMITS).await.expect("answered");
            let events = sent.iter().flat_map(|past| past.0.iter().flatten());
            let found: Vec<_> = answer.into_values().collect();
            assert_eq!(found, expected(events, window, |event| &event.route, route), "{window:?} {route:?}");
        }
        // Hosts have levels of their own, at other moments behind than those of the routes.
        for host in [None, Some("web-1"), Some("")] {
            let filters = Filters { host: host.into_iter().map(str::to_owned).collect(), ..Filters::default() };
            let answer = ask_by(asker, window, Dimension::Host, filters, false, LIMITS).await.expect("answered");
            let events = sent.iter().flat_map(|past| past.0.iter().flatten());
            let found: Vec<_> = answer.into_values().collect();
            let expected = expected(events, window, |event| event.host.unwrap_or_default(), host);
            assert_eq!(found, expected, "{window:?} {host:?}");
        }
        // Both ways: from the versions, of which not all have a place, and from the series.
        let a_service = sent.iter().flat_map(|past| past.0.iter().flatten()).next().map(|event| event.service.as_str());
        for (service, statuses) in [(None, false), (None, true), (a_service, false)] {
            let filters = Filters { service: service.into_iter().map(str::to_owned).collect(), ..Filters::default() };
            let answer = ask_by(asker, window, Dimension::Service, filters, statuses, LIMITS).await;
            let events = sent.iter().flat_map(|past| past.0.iter().flatten());
            let found: Vec<_> = answer.expect("answered").into_values().collect();
            let expected = expected(events, window, |event| &event.service, service);
            assert_eq!(found, expected, "{window:?} {service:?}, statuses {statuses}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_range_is_answered_from_the_events_themselves_whatever_the_levels_hold() {
    let stack = Stack::new(3).await;
    let mut config = without_leveler();
    config.facets_max = 2;
    let worker = stack.start_with(config);
    let asker = Asker::new(&stack);
    let mut leveler = leveler();
    let mut sent = Vec::new();
    for seed in 0..9u64 {
        let past = if seed % 2 == 0 { Past::days(seed) } else { Past::spread(seed) };
        past.send(&stack, 3).await;
        sent.push(past);
        stack.wait_for_commit().await;
        assert_answers(&asker, &sent).await;
        match seed % 3 {
            0 => {}
            _ => {
                round(&stack, &mut leveler).await;
            }
        }
        if seed >= 4 {
            retention::pass(&stack.database.options(), keep(2, 4)).await.unwrap();
        }
        assert_answers(&asker, &sent).await;
        assert!(seed == 0 || asker.closed.remembered() > 0, "all was read again");
    }
    crate::assert_gains_add_up(&stack).await;
    let view = View::read(&stack.pool).await;
    let others: i64 = sqlx::query_scalar("select count(*) from facet where kind = 'version' and value = '(other)'")
        .fetch_one(&stack.pool)
        .await
        .unwrap();
    assert!(others > 0, "there were more versions than places");
    assert!(
        view.oldest(Level::TenSeconds) > view.oldest(Level::Minute)
            && view.oldest(Level::Minute) > view.oldest(Level::Hour)
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_total_never_moves_backwards_and_no_moment_counts_twice() {
    let stack = Stack::new(2).await;
    let worker = stack.start_with(without_leveler());
    let (asker, options) = (Asker::new(&stack), stack.database.options());
    let levels = tokio::spawn(async move {
        let mut leveler = leveler();
        loop {
            let round = leveler.round(&options, Due::Now).await.expect("the database answers");
            assert_eq!(round.failed, 0);
        }
    });
    let now_s = now_ms() / 1000;
    let from_s = (now_s - 7 * DAY_S) / 3_600 * 3_600;
    let window = Window { from_s, to_s: now_s + 7_200, step_s: now_s + 7_200 - from_s };
    let asking = tokio::spawn(async move {
        let mut totals = Vec::new();
        loop {
            let total =
                ask(&asker, window, None, LIMITS).await.expect("answered").values().map(|sums| sums.0).sum::<u64>();
            totals.push(total);
            if total >= 12 * 160 {
                return totals;
            }
        }
    });
    for seed in 0..12 {
        Past::days(seed).send(&stack, 2).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let totals = tokio::time::timeout(Duration::from_secs(30), asking).await.expect("all arrive").expect("no panic");
    assert!(totals.is_sorted() && totals.last() == Some(&(12 * 160)), "{totals:?}");
    assert!(!levels.is_finished(), "the leveler went on");
    levels.abort();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_too_long_in_ten_seconds_is_answered_in_hours() {
    let stack = Stack::new(1).await;
    let worker = stack.start_with(without_leveler());
    // A piece for each ten seconds of a day.
    let now_s = now_ms() / 1000;
    let day: Vec<Sent> = (0..8_640)
        .map(|ten| Sent { ended_ms: (now_s - DAY_S + ten * 10) * 1000, ..Sent::now("shop", "/", 1_000) })
        .collect();
    for events in day.chunks(2_000) {
        stack.send_batch(0, events).await;
    }
    stack.wait_for_commit().await;
    let (asker, few) = (Asker::new(&stack), HistoryLimits { rows_max: 500, ..LIMITS });
    let window = Window { from_s: (now_s - DAY_S) / 3_600 * 3_600, to_s: (now_s / 3_600 + 1) * 3_600, step_s: 3_600 };
    let refused = ask(&asker, window, None, few).await.unwrap_err();
    assert!(matches!(refused, HistoryError::TooManyRows { .. }));
    round(&stack, &mut leveler()).await;
    let answer = ask(&asker, window, None, few).await.expect("answered");
    assert_eq!(answer.values().map(|sums| sums.0).sum::<u64>(), 8_640);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_read_from_its_versions_when_all_of_it_is_in_them() {
    let stack = Stack::new(1).await;
    let worker = stack.start_with(without_leveler());
    let ended_ms = now_ms() - 3_600_000;
    let routes = (0..60).map(|route| Sent { ended_ms, ..Sent::now("shop", &format!("/{route}"), 1_000 + route) });
    stack.send_batch(0, &routes.collect::<Vec<_>>()).await;
    stack.wait_for_commit().await;
    let (asker, few) = (Asker::new(&stack), HistoryLimits { rows_max: 30, ..LIMITS });
    let now_s = now_ms() / 10_000 * 10;
    let window = Window { from_s: now_s - DAY_S, to_s: now_s, step_s: DAY_S };
    let by = async |dimension, statuses| {
        let answer = ask_by(&asker, window, dimension, Filters::default(), statuses, few).await;
        answer.map(|answer| answer.values().map(|sums| sums.0).sum::<u64>())
    };
    assert_eq!(by(Dimension::Service, false).await.expect("answered"), 60, "one row");
    // Versions know neither of these.
    for (dimension, statuses) in [(Dimension::Service, true), (Dimension::Route, false)] {
        let refused = by(dimension, statuses).await;
        assert!(matches!(refused, Err(HistoryError::TooManyRows { .. })), "{refused:?}");
    }
    // Part of it was counted by a worker that knew no versions, perhaps.
    sqlx::query("update ledger set has_facets = false").execute(&stack.pool).await.unwrap();
    let refused = by(Dimension::Service, false).await;
    assert!(matches!(refused, Err(HistoryError::TooManyRows { .. })), "{refused:?}");
    // That is only of interest where its events may be.
    sqlx::query("update ledger set appended_at = appended_at - interval '3 days'").execute(&stack.pool).await.unwrap();
    assert_eq!(by(Dimension::Service, false).await.expect("answered"), 60);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_days_of_the_rollups_add_up_to_those_of_the_books() {
    let stack = Stack::new(2).await;
    let worker = stack.start_with(without_leveler());
    let mut leveler = leveler();
    let mut days_sent: BTreeSet<(i64, i32)> = BTreeSet::new();
    for seed in 0..6 {
        let past = Past::days(seed);
        past.send(&stack, 2).await;
        for (number, batch) in past.0.iter().enumerate() {
            let partition = number as i32 % 2;
            days_sent.extend(batch.iter().map(|sent| (sent.ended_ms.div_euclid(DAY_S * 1000) * DAY_S, partition)));
        }
        stack.wait_for_commit().await;
        match seed % 3 {
            1 => drop(round(&stack, &mut leveler).await),
            2 => drop(retention::pass(&stack.database.options(), keep(2, 4)).await.unwrap()),
            _ => {}
        }
        let to_s = (now_ms() / 1000 / DAY_S + 1) * DAY_S;
        let mut snapshot = stack.pool.begin_with("begin isolation level repeatable read, read only").await.unwrap();
        let days = history::events_by_day(&mut snapshot, ProjectId(1), to_s - 30 * DAY_S, to_s).await.unwrap();
        let booked: Vec<(i64, i32, i64)> = sqlx::query_as(
            "select extract(epoch from day)::bigint, log_partition, rolled_up from ledger_day order by day, log_partition",
        )
        .fetch_all(&mut *snapshot)
        .await
        .unwrap();
        snapshot.commit().await.unwrap();
        let found: Vec<(i64, i32, i64)> =
            days.into_iter().map(|((day, partition), events)| (day, partition as i32, events as i64)).collect();
        assert_eq!(found, booked);
        // How many these are depends on the hour in which the test runs.
        let days_booked: BTreeSet<(i64, i32)> = booked.iter().map(|(day, partition, _)| (*day, *partition)).collect();
        assert_eq!(days_booked, days_sent);
    }
    assert!(days_sent.len() > 6, "several days on both partitions: {days_sent:?}");
    worker.stop().await;
}
