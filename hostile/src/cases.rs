//! Every case: what it is called, what is expected, and what it does.

mod bodies;

mod bombs;

mod floods;

mod h2;

mod json;

mod keys;

mod overload;

mod requests;

mod slow;

mod smuggling;

mod times;

mod tls;

use std::pin::Pin;

use crate::scene::Scene;

/// What a case does to a running scene. What it finds goes into the scene; an error is an attack that did not come about.
pub type Attack = for<'s> fn(&'s mut Scene) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 's>>;

/// One line of the catalogue.
#[derive(Clone, Copy)]
pub struct Case {
    /// As in docs/hostile-input.md. Several cases may be parts of one.
    pub id: &'static str,
    pub title: &'static str,
    pub expects: &'static str,
    /// Needs programs of the system, or minutes: not part of the short selection.
    pub long: bool,
    pub attack: Attack,
}

/// All of them, in order.
pub fn all() -> Vec<Case> {
    let mut all = [
        slow::cases(),
        tls::cases(),
        h2::cases(),
        bombs::cases(),
        bodies::cases(),
        json::cases(),
        keys::cases(),
        smuggling::cases(),
        floods::cases(),
        times::cases(),
        requests::cases(),
        overload::cases(),
    ]
    .concat();
    all.sort_by_key(|case| case.id);
    all
}

/// A case that runs everywhere within seconds.
fn case(id: &'static str, title: &'static str, expects: &'static str, attack: Attack) -> Case {
    Case { id, title, expects, long: false, attack }
}
