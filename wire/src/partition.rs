//! Which partition a request goes to: pure, and part of the contract.
//!
//! A retry must land where the first try did, so the choice depends on nothing but the project, the service of the
//! request's first event and the producer's lane. Hashing by producer alone would spread every series over every rollup
//! worker and multiply the flush cost (7 to 12 µs per series, window and worker); by service a series stays on one, or on
//! `lanes` of them.

use crate::hash::{FNV_OFFSET, fnv1a, mix};
use crate::{Identity, ProjectId};

/// The partition of a request whose first event is of this service; without an identity it is in the first lane.
pub fn partition_of(
    project: ProjectId,
    service: &str,
    identity: Option<&Identity>,
    lanes: u32,
    partitions: u32,
) -> u32 {
    debug_assert!(lanes > 0 && partitions > 0, "a log has at least one partition and a service one lane");
    let lane = identity.map_or(0, |identity| mix(fnv1a(FNV_OFFSET, &identity.producer)) % u64::from(lanes));
    let mut hash = fnv1a(FNV_OFFSET, &project.0.to_le_bytes());
    hash = fnv1a(hash, service.as_bytes());
    hash = fnv1a(hash, &lane.to_le_bytes());
    (mix(hash) % u64::from(partitions)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(project: u64, service: &str, producer: u8, lanes: u32) -> u32 {
        let identity = Identity { producer: [producer; 16], seq: 0 };
        partition_of(ProjectId(project), service, Some(&identity), lanes, 8)
    }

    #[test]
    fn the_choice_is_pinned_for_every_release() {
        let pinned = [of(1, "checkout", 1, 1), of(1, "search", 1, 1), of(2, "checkout", 1, 1), of(1, "checkout", 7, 4)];
        assert_eq!(pinned, [2, 6, 3, 0]);
    }

    #[test]
    fn one_lane_keeps_a_service_together_and_lanes_spread_its_producers() {
        let spread = |lanes| {
            (0..100).map(|producer| of(1, "checkout", producer, lanes)).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(spread(1).len(), 1);
        assert_eq!(partition_of(ProjectId(1), "checkout", None, 4, 8), of(1, "checkout", 1, 1), "the first lane");
        assert!((2..=4).contains(&spread(4).len()));
    }

    #[test]
    fn many_services_use_every_partition() {
        let used: std::collections::BTreeSet<_> =
            (0..100).map(|number| of(1, &format!("service-{number}"), 0, 1)).collect();
        assert_eq!(used.len(), 8);
    }
}
