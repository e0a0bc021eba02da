//! Whether somebody who looks may go on looking.
//!
//! Arrives: whoever opened a live view. Leaves: one [`Standing`] for each key or session, shared by all of its connections,
//! which ends when the key is revoked or the session is over. Promises: that is noticed within [`RECHECK`] after this process can
//! know it; all sessions are asked after in one statement, however many there are and however many connections each has; while
//! nobody can tell, what was allowed stays allowed for a while, and no longer.
//! Does not: decide who may look in the first place ([`crate::session`]).

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::session::{Gate, Viewer};

/// A key or session with open connections.
pub struct Standing {
    viewer: Viewer,
    confirmed: Mutex<Instant>,
    ended: watch::Sender<bool>,
}

impl Standing {
    /// Whether its connections have to go.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Resolves when they have to.
    pub async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// All of them. The default is nobody.
#[derive(Default)]
pub struct Standings {
    by_secret: Mutex<HashMap<String, Weak<Standing>>>,
}

impl Standings {
    /// The standing of this viewer, which was just found to be allowed.
    pub fn of(&self, viewer: Viewer) -> Arc<Standing> {
        let mut by_secret = self.by_secret.lock();
        let known = by_secret.get(viewer.secret()).and_then(Weak::upgrade);
        // One that has ended stays ended for those who hang on it; this viewer was found allowed after that.
        if let Some(known) = known.filter(|known| !known.has_ended() && known.viewer.project == viewer.project) {
            return known;
        }
        let secret = viewer.secret().to_owned();
        let standing =
            Arc::new(Standing { viewer, confirmed: Mutex::new(Instant::now()), ended: watch::Sender::new(false) });
        by_secret.insert(secret, Arc::downgrade(&standing));
        standing
    }

    /// Asks after everybody, once.
    pub async fn recheck(&self, gate: &Gate) {
        let held = self.held();
        let (sessions, keys): (Vec<_>, Vec<_>) = held.into_iter().partition(|standing| standing.viewer.is_session());
        for standing in keys {
            let answer = gate.may_look(&standing.viewer).await;
            standing.judge(answer, Duration::ZERO);
        }
        for some in sessions.chunks(SESSIONS_AT_ONCE) {
            let viewers: Vec<&Viewer> = some.iter().map(|standing| &standing.viewer).collect();
            let answers = gate.sessions_may_look(&viewers).await;
            for (standing, answer) in some.iter().zip(answers) {
                standing.judge(answer, gate.stale_max());
            }
        }
    }

    fn held(&self) -> Vec<Arc<Standing>> {
        let mut held = Vec::new();
        self.by_secret.lock().retain(|_, standing| {
            let standing = standing.upgrade();
            let stays = standing.is_some();
            held.extend(standing);
            stays
        });
        held
    }
}

impl Standing {
    /// `None` when nobody could tell.
    fn judge(&self, may_look: Option<bool>, stale_max: Duration) {
        let mut confirmed = self.confirmed.lock();
        let stays = match may_look {
            Some(true) => {
                *confirmed = Instant::now();
                true
            }
            Some(false) => false,
            None => confirmed.elapsed() < stale_max,
        };
        if !stays {
            self.ended.send_replace(true);
        }
    }
}

/// How often everybody is asked after. Keys are known in memory, two seconds old at most; sessions cost one statement.
pub const RECHECK: Duration = Duration::from_secs(1);
const SESSIONS_AT_ONCE: usize = 1000;
