//! What is known by name: the services and environments that facets belong to, and the facets that were seen lately.
//!
//! Arrives: series, and values of versions and hosts. Leaves: small numbers for them, and shared [`Facet`]s that outlive the
//! table. Does not: decide who has a place (`budget`), or look at events.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use peep_wire::ProjectId;
use peep_wire::hash::sip;

use super::{Facet, FacetKind, NEVER, NOWHERE};
use crate::key::SeriesTable;

/// Services and environments, by the series that are in them. For one cut.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    pub(super) scopes: Vec<Scope>,
    index: HashTable<u32>,
    hasher: RandomState,
    pub(super) by_series: Vec<Lately>,
    heap_bytes: usize,
}

/// Where the last event of a series was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lately {
    pub(super) scope: u32,
    /// A guess.
    pub(super) pair: u32,
}

impl Lately {
    const NOWHERE: Lately = Lately { scope: NOWHERE, pair: NOWHERE };
}

#[derive(Debug)]
pub(super) struct Scope {
    pub(super) project: ProjectId,
    pub(super) service: Arc<str>,
    pub(super) env: Arc<str>,
    /// By kind: what its facets are counted under.
    pub(super) hashes: [u64; 2],
}

impl Scopes {
    #[cold]
    pub(super) fn of(&mut self, table: &SeriesTable, series: u32) -> u32 {
        if self.by_series.len() < table.len() {
            self.by_series.resize(table.len(), Lately::NOWHERE);
        }
        let of = table.get(series);
        let fields = of.fields();
        let Self { scopes, index, hasher, .. } = self;
        let hash = hash_scope(hasher, of.project, fields.service, fields.env);
        let is_it = |at: &u32| {
            let scope = &scopes[*at as usize];
            scope.project == of.project && *scope.service == *fields.service && *scope.env == *fields.env
        };
        let known = index.find(hash, is_it).copied();
        let at = known.unwrap_or(scopes.len() as u32);
        if known.is_none() {
            let hashes = FacetKind::ALL.map(|kind| scope_hash(kind, fields.env, fields.service));
            let (service, env): (Arc<str>, Arc<str>) = (fields.service.into(), fields.env.into());
            self.heap_bytes += service.len() + env.len() + 4 * size_of::<usize>();
            scopes.push(Scope { project: of.project, service, env, hashes });
            index.insert_unique(hash, at, |at| {
                let scope = &scopes[*at as usize];
                hash_scope(hasher, scope.project, &scope.service, &scope.env)
            });
        }
        self.by_series[series as usize].scope = at;
        at
    }

    pub(super) fn clear(&mut self) {
        self.by_series.clear();
        self.scopes.clear();
        self.index.clear();
        self.heap_bytes = 0;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.scopes.capacity() * size_of::<Scope>()
            + self.by_series.capacity() * size_of::<Lately>()
            + self.index.allocation_size()
            + self.heap_bytes
    }
}

fn hash_scope(hasher: &RandomState, project: ProjectId, service: &str, env: &str) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(project.0);
    hasher.write(service.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(env.as_bytes());
    hasher.finish()
}

/// Under which number the facets of a kind of a service are counted. None of the texts has a NUL.
fn scope_hash(kind: FacetKind, env: &str, service: &str) -> u64 {
    sip([kind.name(), env, service].join("\0").as_bytes())
}

/// Facets that were seen lately, with the ids of their rows.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) entries: Vec<Entry>,
    index: HashTable<u32>,
    hasher: RandomState,
    heap_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) facet: Arc<Facet>,
    /// Where its last window is.
    pub(super) guess: u32,
    /// Since the last cut; [`NEVER`] without an event.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

impl Entry {
    fn of(facet: Arc<Facet>) -> Entry {
        let (first_ms, last_ms) = NEVER;
        Entry { facet, guess: NOWHERE, first_ms, last_ms }
    }

    pub(super) fn is_used(&self) -> bool {
        self.first_ms <= self.last_ms
    }
}

impl Known {
    pub(super) fn find_or_add(
        &mut self,
        project: ProjectId,
        kind: FacetKind,
        env: &Arc<str>,
        service: &Arc<str>,
        value: &str,
    ) -> u32 {
        let hash = hash_of(&self.hasher, (project, env, service, kind, value));
        let is_it = |at: &u32| self.entries[*at as usize].facet.key() == (project, &**env, &**service, kind, value);
        if let Some(&at) = self.index.find(hash, is_it) {
            return at;
        }
        let facet = Facet {
            project,
            kind,
            env: Arc::clone(env),
            service: Arc::clone(service),
            value: value.into(),
            row: OnceLock::new(),
        };
        self.put(Entry::of(Arc::new(facet)))
    }

    fn put(&mut self, entry: Entry) -> u32 {
        let at = self.entries.len() as u32;
        let hash = hash_of(&self.hasher, entry.facet.key());
        self.heap_bytes += entry.facet.memory_bytes();
        self.entries.push(entry);
        let Self { entries, index, hasher, .. } = self;
        index.insert_unique(hash, at, |at| hash_of(hasher, entries[*at as usize].facet.key()));
        at
    }

    /// Nothing refers to an index any more. Forgets the facets without an event since the last call once they outnumber the
    /// others; one that comes back costs a look-up in Postgres.
    pub(super) fn sweep(&mut self) {
        let used = self.entries.iter().filter(|entry| entry.is_used()).count();
        if self.entries.len() - used > used + IDLE_KEPT {
            let before = std::mem::take(self);
            before.entries.into_iter().filter(Entry::is_used).for_each(|entry| _ = self.put(Entry::of(entry.facet)));
            return;
        }
        for entry in &mut self.entries {
            (entry.first_ms, entry.last_ms) = NEVER;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size() + self.heap_bytes
    }
}

fn hash_of(
    hasher: &RandomState,
    (project, env, service, kind, value): (ProjectId, &str, &str, FacetKind, &str),
) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(project.0);
    for text in [env, service, kind.name(), value] {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// Idle facets kept whatever the traffic: half a megabyte at most.
const IDLE_KEPT: usize = 4_096;
