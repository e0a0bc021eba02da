//! One thread of the fan-out: its connections by topic, and the three things that happen to them: arriving, being told, and being
//! looked after.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use peep_chassis::lifecycle::Shutdown;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::member::{Member, Tally};
use super::socket::Wire;
use super::{FanoutLimits, Joining, Load};
use crate::comeback;
use crate::hub::{LiveTopic, Published};
use crate::websocket::frame::close_code;

/// Runs until shutdown, and until everybody has left or had time to.
pub(super) fn run(
    number: usize,
    limits: FanoutLimits,
    loads: Vec<Arc<Load>>,
    mut arrivals: mpsc::Receiver<Joining>,
    shutdown: &Shutdown,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a fan-out thread has no runtime");
            return;
        }
    };
    let crowd = Rc::new(Crowd { number, limits, loads, groups: RefCell::default() });
    LocalSet::new().block_on(&runtime, async move {
        let sweeper = spawn_local(Rc::clone(&crowd).sweep());
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                joining = arrivals.recv() => match joining {
                    Some(joining) => Rc::clone(&crowd).admit(joining),
                    None => break,
                },
            }
        }
        arrivals.close();
        // Who was on the way is dropped with its connection.
        while arrivals.try_recv().is_ok() {}
        crowd.everybody(|member| member.say_goodbye(Some(close_code::AWAY), &restarting()));
        let left = async {
            while !crowd.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = timeout(GOODBYE, left).await;
        sweeper.abort();
    });
}

/// The connections of one thread.
struct Crowd {
    number: usize,
    limits: FanoutLimits,
    /// Of all threads; `number` is ours.
    loads: Vec<Arc<Load>>,
    /// By the address of the topic, which a group keeps alive.
    groups: RefCell<HashMap<usize, Rc<Group>>>,
}

/// Those who watch the same topic.
struct Group {
    topic: Arc<LiveTopic>,
    members: RefCell<Vec<Rc<Member>>>,
    /// Told when the last one leaves.
    deserted: Notify,
}

impl Crowd {
    fn admit(self: Rc<Self>, joining: Joining) {
        let Joining { socket, early, subscriber, first, standing } = joining;
        let member = match Wire::of(socket, self.limits.write_timeout) {
            Ok(wire) => Member::new(wire, subscriber, first, standing),
            Err(error) => {
                tracing::warn!(%error, "a WebSocket cannot be taken over");
                self.load().members.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let group = self.group(member.topic());
        group.add(Rc::clone(&member));
        if !early.is_empty() {
            member.hear(&mut early.to_vec());
        }
        spawn_local(async move {
            poll_fn(|context| member.poll(context)).await;
            group.remove(&member);
            self.load().members.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn load(&self) -> &Load {
        &self.loads[self.number]
    }

    /// The group of a topic, which follows it from now on.
    fn group(self: &Rc<Self>, topic: Arc<LiveTopic>) -> Rc<Group> {
        let key = Arc::as_ptr(&topic) as usize;
        if let Some(group) = self.groups.borrow().get(&key) {
            return Rc::clone(group);
        }
        let group = Rc::new(Group { topic, members: RefCell::default(), deserted: Notify::new() });
        self.groups.borrow_mut().insert(key, Rc::clone(&group));
        let (crowd, following) = (Rc::clone(self), Rc::clone(&group));
        spawn_local(async move {
            following.follow().await;
            // Nobody can have joined since: there was no wait in between.
            crowd.groups.borrow_mut().remove(&key);
        });
        group
    }

    fn everybody(&self, what: impl Fn(&Member)) {
        let groups: Vec<_> = self.groups.borrow().values().cloned().collect();
        for group in groups {
            let members = group.members.borrow().clone();
            members.iter().for_each(|member| what(member));
        }
    }

    fn is_empty(&self) -> bool {
        self.groups.borrow().values().all(|group| group.members.borrow().is_empty())
    }

    /// Looks after everybody, for ever.
    async fn sweep(self: Rc<Self>) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look_after(Instant::now());
        }
    }

    fn look_after(&self, now: Instant) {
        let mut waiting = Vec::new();
        let mut unsent_bytes = 0;
        for group in self.groups.borrow().values() {
            for member in &*group.members.borrow() {
                let unsent = member.supervise(now, &self.limits, comeback::after_slowness_s());
                if unsent > 0 {
                    unsent_bytes += unsent;
                    waiting.push((member.waits_since(), unsent, Rc::clone(member)));
                }
            }
        }
        self.load().unsent_bytes.store(unsent_bytes, Ordering::Relaxed);
        let all: usize = self.loads.iter().map(|load| load.unsent_bytes.load(Ordering::Relaxed)).sum();
        let mut excess = all.saturating_sub(self.limits.unsent_bytes_max);
        // The slowest go first, until this thread has done its part.
        waiting.sort_unstable_by_key(|(since, ..)| *since);
        for (_, unsent, member) in waiting {
            if excess == 0 {
                break;
            }
            member.send_away(comeback::after_slowness_s());
            excess = excess.saturating_sub(unsent);
        }
    }
}

impl Group {
    fn add(&self, member: Rc<Member>) {
        let mut members = self.members.borrow_mut();
        member.index.set(members.len());
        members.push(member);
    }

    fn remove(&self, member: &Rc<Member>) {
        let mut members = self.members.borrow_mut();
        let index = member.index.get();
        debug_assert!(Rc::ptr_eq(&members[index], member), "a member knows its place");
        members.swap_remove(index);
        if let Some(moved) = members.get(index) {
            moved.index.set(index);
        }
        if members.is_empty() {
            self.deserted.notify_one();
        }
    }

    /// Tells everybody what is published, until nobody is left.
    async fn follow(&self) {
        let mut published = self.topic.watch();
        loop {
            tokio::select! {
                () = self.deserted.notified() => {
                    // Somebody may have come since.
                    if self.members.borrow().is_empty() {
                        return;
                    }
                    continue;
                }
                // The topic, which we hold, is who publishes.
                _ = published.changed() => {}
            }
            let version = match &*published.borrow_and_update() {
                Published::Version(version) => version.clone(),
                Published::Building => continue,
                Published::Failed(_) => {
                    let members = self.members.borrow().clone();
                    members.iter().for_each(|member| member.say_goodbye(Some(close_code::TRY_AGAIN_LATER), &closed()));
                    continue;
                }
            };
            let mut tally = Tally::default();
            // From the end: who leaves meanwhile is replaced by one who was told already, and being told twice does nothing.
            let mut at = self.members.borrow().len();
            while at > 0 {
                let from = at.saturating_sub(AT_ONCE);
                for index in (from..at).rev() {
                    // The list may have become shorter.
                    let Some(member) = self.members.borrow().get(index).cloned() else { continue };
                    if !member.is_gone() {
                        member.deliver(&version, &mut tally);
                    }
                }
                at = from;
                // Those who cannot be written to at once, and other topics, have their turn.
                yield_now().await;
            }
        }
    }
}

fn restarting() -> String {
    format!("retry={}; the service restarts", comeback::after_restart_s())
}

fn closed() -> String {
    format!("retry={}; the view was closed", comeback::after_slowness_s())
}

/// How often everybody is looked after; deadlines are kept this exactly, and never late.
pub(super) const SWEEP: Duration = Duration::from_millis(250);
/// Deliveries between two looks at everything else: less than a millisecond.
const AT_ONCE: usize = 64;
/// For goodbyes to be taken.
const GOODBYE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);
