//! Every fault of the campaign: what it is called, what it needs, and what it does.

mod clocks;

mod database;

mod lies;

mod log;

mod network;

mod processes;

mod retries;

use std::pin::Pin;

use crate::auditor::load::Settings;
use crate::scene::Scene;
use crate::world::Shape;

/// What a fault does to a running scene. It returns once the world is whole again.
pub type Deed = for<'d, 's> fn(&'d mut Scene<'s>) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'd>>;

/// One line of the catalogue.
#[derive(Clone)]
pub struct Fault {
    /// As in the catalogue of faults of docs/guarantees.md.
    pub id: &'static str,
    pub title: &'static str,
    pub shape: Shape,
    pub load: Settings,
    pub deed: Deed,
}

/// All of them, in order.
pub fn all() -> Vec<Fault> {
    let mut all = [
        processes::faults(),
        retries::faults(),
        log::faults(),
        network::faults(),
        database::faults(),
        clocks::faults(),
        lies::faults(),
    ]
    .concat();
    all.sort_by_key(|fault| fault.id);
    all
}

/// With the usual world and the usual load.
fn fault(id: &'static str, title: &'static str, deed: Deed) -> Fault {
    Fault { id, title, shape: Shape::default(), load: Settings::default(), deed }
}

/// What `make test` runs.
pub const SHORT: &[&str] = &["F01", "F02", "F06", "F19", "F24", "F32", "S01", "S02", "S03"];
