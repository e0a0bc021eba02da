//! The simulated store keeps what every store promises: the same suite as for the real one, so that what is shown with the one
//! holds with the other.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use peep_rollup::store::{LEASE, Store};

use crate::contract::{Kept, PARTITIONS, Subject, cases};
use crate::random::Random;
use crate::store::SimStore;
use crate::world::{Shape, World};

struct Simulated {
    store: Arc<SimStore>,
    seen: Arc<dyn Store>,
}

impl Simulated {
    fn new() -> Self {
        let mut random = Random::new(1);
        let shape = Shape { partitions: PARTITIONS, ..Shape::of(&mut random) };
        let world = World::new(shape, false);
        let store = SimStore::new(&world, random);
        let seen = store.seen_by(&world.process());
        Self { store, seen }
    }
}

impl Subject for Simulated {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.seen)
    }

    fn let_leases_expire(&self) -> BoxFuture<'_, ()> {
        self.store.change(0, |state, _| state.age_leases(LEASE));
        Box::pin(std::future::ready(()))
    }

    fn kept(&self, partition: u32) -> BoxFuture<'_, Kept> {
        let mut kept = Kept::default();
        self.store.look(|state| {
            for flush in state.flushes_of(partition) {
                kept.rolled_up += flush.cut.pieces.iter().map(|piece| piece.cell.count).sum::<u64>();
                kept.in_facets += flush.cut.facets.pieces.iter().map(|piece| piece.cell.count).sum::<u64>();
                kept.booked += flush.cut.books.total.rolled_up;
                kept.duplicate += flush.cut.duplicates.iter().map(|duplicate| u64::from(duplicate.events)).sum::<u64>();
            }
        });
        Box::pin(std::future::ready(kept))
    }

    fn broken(&self, partition: u32) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(self.store.look(|state| state.cursors[partition as usize].broken.clone())))
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulated_store_keeps_what_every_store_promises() {
    for (name, case) in cases::<Simulated>() {
        println!("{name}");
        case(&Simulated::new()).await;
    }
}
