//! Every fault of the campaign: what it is called, what it needs, and what it does.

mod processes;

use std::pin::Pin;

use crate::auditor::load::Settings;
use crate::scene::Scene;
use crate::world::Shape;

/// What a fault does to a running scene. It returns once the world is whole again.
pub type Deed = for<'s> fn(&'s mut Scene) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 's>>;

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
    processes::faults()
}

/// What `make test` runs.
pub const SHORT: &[&str] = &["F01", "F02", "F06", "F19", "F24", "F32"];
