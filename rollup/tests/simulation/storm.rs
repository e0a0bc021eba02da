//! The storm: everything that goes wrong, when, and for how long.
//!
//! Each kind of fault that the seed allows is a task of its own that waits a random while, strikes, and waits again, until
//! the storm is over. Afterwards the world is whole again, except for what was destroyed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::log::{LogWeather, SimLog};
use crate::random::Random;
use crate::store::{SimStore, StoreWeather};
use crate::workers::Workers;
use crate::world::World;

/// What can be struck.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) world: Arc<World>,
    pub(crate) events: Arc<SimLog>,
    pub(crate) live: Arc<SimLog>,
    pub(crate) store: Arc<SimStore>,
    pub(crate) workers: Arc<Workers>,
}

/// Rages for `how_long`, then heals what can be healed.
pub(crate) async fn rage(targets: &Targets, how_long: Duration, random: &mut Random) {
    let faults = targets.world.shape.faults;
    let mut tasks = JoinSet::new();
    let mut strike = |is_on: bool, kind: Kind| {
        let (targets, random) = (targets.clone(), random.fork());
        if is_on {
            tasks.spawn(async move { repeat(&targets, kind, random).await });
        }
    };
    strike(faults.crashes, Kind::Crash);
    strike(faults.freezes, Kind::Freeze);
    strike(faults.upgrades, Kind::Upgrade);
    strike(faults.store_errors, Kind::StoreErrors);
    strike(faults.store_outages, Kind::StoreOutage);
    strike(faults.failovers, Kind::Failover);
    strike(faults.split_brains, Kind::SplitBrain);
    strike(faults.store_clock, Kind::StoreClock);
    strike(faults.log_errors, Kind::LogErrors);
    strike(faults.log_outages, Kind::LogOutage);
    strike(faults.log_clock, Kind::LogClock);
    strike(faults.retention, Kind::Retention);
    strike(faults.truncation, Kind::Truncation);
    strike(faults.recreation, Kind::Recreation);
    strike(faults.lost_frames, Kind::LostFrames);
    sleep(how_long).await;
    tasks.shutdown().await;
    heal(targets);
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Crash,
    Freeze,
    Upgrade,
    StoreErrors,
    StoreOutage,
    Failover,
    SplitBrain,
    StoreClock,
    LogErrors,
    LogOutage,
    LogClock,
    Retention,
    Truncation,
    Recreation,
    LostFrames,
}

async fn repeat(targets: &Targets, kind: Kind, mut random: Random) {
    // Disasters are rare; everything else comes again and again.
    let pause_ms = match kind {
        Kind::Truncation | Kind::Recreation => 5_000..=40_000,
        Kind::Failover | Kind::SplitBrain => 2_000..=20_000,
        _ => 200..=12_000,
    };
    loop {
        sleep(random.millis(pause_ms.clone())).await;
        targets.world.trace.note("strike", &[("kind", kind as u64)]);
        targets.world.trace.remark(|| format!("{kind:?}"));
        strike(targets, kind, &mut random).await;
    }
}

async fn strike(targets: &Targets, kind: Kind, random: &mut Random) {
    let Targets { world, events, live, store, workers } = targets;
    let place = random.below(workers.count());
    let partition = random.below(u64::from(world.shape.partitions)) as u32;
    match kind {
        Kind::Crash => {
            workers.kill(place);
            sleep(random.millis(0..=15_000)).await;
            if workers.process(place).is_none() {
                workers.start(place);
            }
        }
        Kind::Freeze => workers.freeze(place, random.millis(100..=25_000)).await,
        Kind::Upgrade => {
            workers.stop(place).await;
            sleep(random.millis(0..=3_000)).await;
            if workers.process(place).is_none() {
                workers.start(place);
            }
        }
        Kind::StoreErrors => {
            let mut per_mille = || *random.pick(&[0, 20, 100, 400]);
            let (request, answer, crash, slow) = (per_mille(), per_mille(), per_mille(), per_mille() / 4);
            store.change_weather(|weather| {
                weather.request_lost_per_mille = request;
                weather.answer_lost_per_mille = answer;
                weather.crash_per_mille = crash;
                weather.slow_per_mille = slow;
            });
        }
        Kind::StoreOutage => {
            let until = Instant::now() + random.millis(100..=30_000);
            store.change_weather(|weather| weather.down_until = Some(until));
        }
        Kind::Failover | Kind::SplitBrain => {
            let replica = store.replica();
            sleep(random.millis(0..=6_000)).await;
            let splits = matches!(kind, Kind::SplitBrain);
            let chosen = (0..workers.count()).filter(|_| splits && random.chance(600));
            let faithful = chosen.filter_map(|place| Some(workers.process(place)?.number)).collect();
            store.fail_over(replica, faithful);
            if splits {
                sleep(random.millis(0..=15_000)).await;
                store.end_split_brain();
            }
        }
        Kind::StoreClock => {
            let ahead_ms = *random.pick(&[-3_600_000, -15_000, -3_000, 0, 3_000, 15_000, 3_600_000]);
            store.change_weather(|weather| weather.clock_ahead_ms = ahead_ms);
        }
        Kind::LogErrors => {
            let mut per_mille = || *random.pick(&[0, 20, 100, 300]);
            let (refused, lost, failed) = (per_mille(), per_mille(), per_mille());
            events.change_weather(|weather| {
                weather.refused_per_mille = refused;
                weather.answer_lost_per_mille = lost;
                weather.read_failed_per_mille = failed;
            });
        }
        Kind::LogOutage => {
            let until = Instant::now() + random.millis(100..=15_000);
            let stalls = random.chance(500);
            events.change_weather(|weather| {
                *(if stalls { &mut weather.stalled_until } else { &mut weather.down_until }) = Some(until);
            });
        }
        Kind::LogClock => {
            // All in all less than a day: producers may be forgotten after that much log time without a sign of life.
            let ahead_ms = *random.pick(&[-36_000_000, -7_200_000, -500, 0, 500, 7_200_000, 36_000_000]);
            events.change_weather(|weather| weather.clock_ahead_ms = ahead_ms);
        }
        Kind::Retention => {
            let high = events.look(partition, |kept| kept.high());
            let low = events.look(partition, |kept| kept.low);
            let counted =
                store.look(|state| state.cursors.get(partition as usize).map_or(0, |row| row.next.offset().0));
            // As a rule what is counted long since; now and then what is not counted yet.
            let end = if random.chance(100) { high } else { counted.min(high) };
            events.expire(partition, low + random.below(end.saturating_sub(low) + 1));
        }
        Kind::Truncation => {
            let high = events.look(partition, |kept| kept.life().len() as u64);
            events.truncate(partition, high.saturating_sub(random.within(1..=8)));
        }
        Kind::Recreation => events.recreate(partition),
        Kind::LostFrames => {
            let (refused, lost) = (*random.pick(&[0, 50, 500]), *random.pick(&[0, 50, 500]));
            let stalled = random.chance(200).then(|| Instant::now() + random.millis(100..=5_000));
            live.change_weather(|weather| {
                weather.refused_per_mille = refused;
                weather.answer_lost_per_mille = lost;
                weather.stalled_until = stalled;
            });
        }
    }
}

fn heal(targets: &Targets) {
    targets.world.trace.note("storm over", &[]);
    targets.store.end_split_brain();
    targets.store.change_weather(|weather| *weather = StoreWeather::default());
    for log in [&targets.events, &targets.live] {
        log.change_weather(|weather| *weather = LogWeather::default());
    }
    targets.workers.revive();
}
