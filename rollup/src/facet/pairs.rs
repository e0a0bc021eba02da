//! Versions and hosts as the events spell them, in pairs.
//!
//! Arrives: the bytes of an event's version and host, and its service. Leaves: the facets they are counted in, found with one hash
//! and one comparison. Does not: outlive a cut; what a pair stands for is asked again.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Named;
use super::runs::Recent;

/// Versions and hosts that occur together, as the events spell them, and the facets these are counted in. For one cut.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) pairs: Vec<Pair>,
    /// The spelling of all pairs, one after the other: version, then host.
    texts: Vec<u8>,
    index: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    hash: u64,
    scope: u32,
    start: u32,
    version_len: u32,
    host_len: u32,
    pub(super) version: u32,
    pub(super) host: u32,
    /// Where it was counted lately, by even and odd windows.
    pub(super) recent: [Recent; 2],
}

impl Pairs {
    #[inline]
    pub(super) fn hash(&self, scope: u32, named: &Named<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(u64::from(scope) << 32 | named.version.len() as u64);
        hasher.write(named.version);
        hasher.write(named.host);
        hasher.finish()
    }

    /// Whether the pair at an index is spelt like this; its scope is not looked at.
    #[inline]
    pub(super) fn is(&self, at: u32, named: &Named<'_>) -> bool {
        let Some(pair) = self.pairs.get(at as usize) else { return false };
        let (start, middle) = (pair.start as usize, (pair.start + pair.version_len) as usize);
        pair.version_len as usize == named.version.len()
            && pair.host_len as usize == named.host.len()
            && is_same(&self.texts[start..middle], named.version)
            && is_same(&self.texts[middle..middle + named.host.len()], named.host)
    }

    /// The same of its scope.
    #[inline]
    pub(super) fn is_in(&self, at: u32, scope: u32, named: &Named<'_>) -> bool {
        self.pairs.get(at as usize).is_some_and(|pair| pair.scope == scope) && self.is(at, named)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, scope: u32, named: &Named<'_>) -> Option<u32> {
        self.index.find(hash, |at| self.is_in(*at, scope, named)).copied()
    }

    pub(super) fn add(&mut self, hash: u64, scope: u32, named: &Named<'_>, [version, host]: [u32; 2]) -> u32 {
        // Cells know their facets, so that nothing is lost with a pair but the time to find it again.
        if self.pairs.len() >= PAIRS_MAX {
            self.clear();
        }
        let at = self.pairs.len() as u32;
        let start = self.texts.len() as u32;
        self.texts.extend_from_slice(named.version);
        self.texts.extend_from_slice(named.host);
        self.pairs.push(Pair {
            hash,
            scope,
            start,
            version_len: named.version.len() as u32,
            host_len: named.host.len() as u32,
            version,
            host,
            recent: [Recent::NOWHERE; 2],
        });
        let Self { pairs, index, .. } = self;
        index.insert_unique(hash, at, |at| pairs[*at as usize].hash);
        at
    }

    pub(super) fn clear(&mut self) {
        self.pairs.clear();
        self.texts.clear();
        self.index.clear();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pairs.capacity() * size_of::<Pair>() + self.texts.capacity() + self.index.allocation_size()
    }
}

/// Of two texts that are equally long. An empty one is not read: the C library of x86-64 with AVX-512 compares what is short under a mask, and
/// a mask of nothing over an address of nothing, which an empty text may have, costs the processor 78 ns for not faulting.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.is_empty() || one == other
}

/// A thousand hosts of a dozen services; with the longest names 10 MB.
const PAIRS_MAX: usize = 16_384;
