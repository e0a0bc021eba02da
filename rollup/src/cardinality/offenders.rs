//! What a project has too many of: the part of its routes that should have been a template, or something else altogether.
//!
//! Arrives: the fields of series of projects that use up more than half of their budget. Leaves: rows of `series_overflow`, such
//! as service `shop`, segment `/api/orders/*`, some 9 800 values, of which `/api/orders/17` is one.
//!
//! Each service is a tree of path segments in which every node estimates how many different values follow it. A route passes
//! several nodes; the one with the most values is to blame. A value that looks like an id counts for many, so that the right
//! node has its name from the first event on. Below a node with very many values there is one common node, `*`, for all but
//! the first of them: that is what bounds the tree.
//!
//! Promises: bounded memory, and a bounded number of names, for each project. Estimates are within about 10 %. They begin anew
//! each day of the log and after a restart; the store keeps the largest.
//!
//! Does not: decide anything. Which series has a place is the budget's business alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use peep_wire::ProjectId;
use peep_wire::hash::{FNV_OFFSET, fnv1a, mix};
use peep_wire::record::Series as Fields;

use super::OTHER;

/// Where folded series went, and why. Rows of `series_overflow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// The tenant.
    pub project: ProjectId,
    /// `(other)` when there are too many services, environments or status codes.
    pub service: String,
    /// `/api/orders/*`: everything up to the part with too many values. `(service)`, `(env)` or `(status)` when it is these.
    pub segment: String,
    /// How many there are, estimated.
    pub distinct_values: u64,
    /// Events folded since the last cut.
    pub events: u64,
    /// One of the values, with what stands before it.
    pub example: String,
    /// The log's time of the first and of the last of these events.
    pub first_ms: i64,
    /// See `first_ms`.
    pub last_ms: i64,
}

/// One of the names of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u16);

/// What the projects of a partition have many of.
#[derive(Debug, Default)]
pub(super) struct Offenders {
    projects: BTreeMap<ProjectId, Tree>,
    /// Of yesterday's trees, for the next cut.
    pending: Vec<Overflow>,
    bytes: usize,
}

impl Offenders {
    /// Looks at a series; when it is folded, its event is counted under the name that is answered.
    pub(super) fn watch(&mut self, project: ProjectId, fields: &Fields<'_>, log_ms: i64, folded: bool) -> Name {
        let tree = match self.projects.entry(project) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                self.bytes += size_of::<Tree>();
                place.insert(Tree::default())
            }
        };
        let bytes_before = tree.bytes;
        let name = tree.watch(fields, folded);
        self.bytes += tree.bytes - bytes_before;
        if folded {
            tree.count(name, log_ms);
        }
        name
    }

    /// One more event under a name.
    pub(super) fn count(&mut self, project: ProjectId, name: Name, log_ms: i64) {
        if let Some(tree) = self.projects.get_mut(&project) {
            tree.count(name, log_ms);
        }
    }

    /// What was folded since the last cut.
    pub(super) fn cut(&mut self) -> Vec<Overflow> {
        let mut rows = std::mem::take(&mut self.pending);
        for (&project, tree) in &mut self.projects {
            tree.report(project, &mut rows);
        }
        rows
    }

    /// What was too much yesterday may be mended today.
    pub(super) fn change_day(&mut self) {
        // More than one change between two cuts is a log with nearly nobody in it.
        if self.pending.is_empty() {
            self.pending = self.cut();
        }
        self.projects.clear();
        self.bytes = 0;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + self.pending.iter().map(|row| size_of::<Overflow>() + row.text_bytes()).sum::<usize>()
    }
}

impl Overflow {
    fn text_bytes(&self) -> usize {
        self.service.len() + self.segment.len() + self.example.len()
    }
}

impl Name {
    /// For whatever has no name of its own.
    const REST: Name = Name(0);
}

/// One project.
#[derive(Debug)]
struct Tree {
    services: Spot,
    envs: Spot,
    statuses: Spot,
    /// By service and the segments so far.
    nodes: HashMap<u64, Spot, FixedState>,
    names: Vec<Named>,
    /// Heap bytes.
    bytes: usize,
    /// Whether an event was folded since the last cut.
    folded: bool,
}

/// A place where values differ.
#[derive(Debug, Default)]
struct Spot {
    values: Distinct,
    name: Option<Name>,
}

#[derive(Debug)]
struct Named {
    service: String,
    segment: String,
    example: String,
    distinct_values: u64,
    /// As of the last report.
    told: u64,
    events: u64,
    first_ms: i64,
    last_ms: i64,
}

/// The widest place that a series passes, so far.
#[derive(Clone, Copy)]
struct Widest {
    at: At,
    score: u64,
    values: u64,
    /// Where the value begins and ends in the route.
    value: (usize, usize),
}

#[derive(Clone, Copy)]
enum At {
    Services,
    Envs,
    Statuses,
    Node { id: u64, depth: usize },
}

impl Default for Tree {
    fn default() -> Self {
        let rest = Named::new(OTHER, OTHER.to_owned(), String::new());
        Self {
            services: Spot::default(),
            envs: Spot::default(),
            statuses: Spot::default(),
            nodes: HashMap::default(),
            names: vec![rest],
            bytes: 0,
            folded: false,
        }
    }
}

impl Tree {
    fn watch(&mut self, fields: &Fields<'_>, folded: bool) -> Name {
        let mut widest = Widest { at: At::Services, score: 0, values: 0, value: (0, 0) };
        let others = [
            (At::Services, &mut self.services, hash_of(fields.service)),
            (At::Envs, &mut self.envs, hash_of(fields.env)),
            (At::Statuses, &mut self.statuses, mix(u64::from(fields.status))),
        ];
        for (at, spot, value) in others {
            let values = spot.values.add(value);
            widest.offer(Widest { at, score: values, values, value: (0, 0) });
        }
        // Which nodes were passed as `*`: bit n for depth n.
        let mut starred = 0u32;
        let mut id = fnv1a(FNV_OFFSET, fields.service.as_bytes());
        for (depth, (start, end)) in segments(fields.route).enumerate() {
            let value = &fields.route[start..end];
            let Some(spot) = self.node(id) else { break };
            let values = spot.values.add(hash_of(value));
            let is_id = looks_like_an_id(value);
            let score = if is_id { values.saturating_add(WIDE) } else { values };
            widest.offer(Widest { at: At::Node { id, depth }, score, values, value: (start, end) });
            let child = child_of(id, value);
            let is_common = is_id || (values > WIDE && !self.nodes.contains_key(&child));
            if is_common {
                starred |= 1 << depth;
            }
            id = if is_common { child_of(id, "*") } else { child };
        }
        self.name(fields, widest, starred, folded)
    }

    fn node(&mut self, id: u64) -> Option<&mut Spot> {
        if !self.nodes.contains_key(&id) {
            if self.nodes.len() >= NODES_MAX {
                return None;
            }
            self.bytes += NODE_BYTES;
        }
        Some(self.nodes.entry(id).or_default())
    }

    fn name(&mut self, fields: &Fields<'_>, widest: Widest, starred: u32, folded: bool) -> Name {
        let spot = match widest.at {
            At::Services => &mut self.services,
            At::Envs => &mut self.envs,
            At::Statuses => &mut self.statuses,
            At::Node { id, .. } => self.nodes.entry(id).or_default(),
        };
        if let Some(Name(at)) = spot.name {
            self.names[usize::from(at)].distinct_values = widest.values;
            return Name(at);
        }
        let deserves_one = folded || widest.values > WIDE;
        if !deserves_one || self.names.len() >= NAMES_MAX {
            return Name::REST;
        }
        let named = match widest.at {
            At::Services => Named::new(OTHER, "(service)".to_owned(), fields.service.to_owned()),
            At::Envs => Named::new(OTHER, "(env)".to_owned(), fields.env.to_owned()),
            At::Statuses => Named::new(OTHER, "(status)".to_owned(), fields.status.to_string()),
            At::Node { depth, .. } => {
                let (start, end) = widest.value;
                let segment = template(fields.route, depth, start, starred);
                Named::new(fields.service, segment, fields.route[..end].to_owned())
            }
        };
        let name = Name(self.names.len() as u16);
        spot.name = Some(name);
        self.bytes += size_of::<Named>() + named.service.len() + named.segment.len() + named.example.len();
        self.names.push(Named { distinct_values: widest.values, ..named });
        name
    }

    fn count(&mut self, name: Name, log_ms: i64) {
        let named = &mut self.names[usize::from(name.0)];
        if named.events == 0 {
            named.first_ms = log_ms;
        }
        named.events += 1;
        named.last_ms = log_ms;
        self.folded = true;
    }

    fn report(&mut self, project: ProjectId, rows: &mut Vec<Overflow>) {
        if !std::mem::take(&mut self.folded) {
            return;
        }
        let last_ms = self.names.iter().map(|named| named.last_ms).max().unwrap_or(0);
        for named in &mut self.names {
            // Also what took the places that the folded ones did not get.
            let has_grown = named.distinct_values > WIDE && named.distinct_values > named.told + named.told / 4;
            if named.events == 0 && !has_grown {
                continue;
            }
            named.told = named.told.max(named.distinct_values);
            let (first_ms, last_ms) =
                if named.events > 0 { (named.first_ms, named.last_ms) } else { (last_ms, last_ms) };
            rows.push(Overflow {
                project,
                service: named.service.clone(),
                segment: named.segment.clone(),
                distinct_values: named.distinct_values,
                events: std::mem::take(&mut named.events),
                example: named.example.clone(),
                first_ms,
                last_ms,
            });
        }
    }
}

impl Named {
    fn new(service: &str, segment: String, example: String) -> Self {
        let service = service.to_owned();
        Self { service, segment, example, distinct_values: 0, told: 0, events: 0, first_ms: 0, last_ms: 0 }
    }
}

impl Widest {
    /// Of two equally wide ones, the later: it is nearer to the value.
    fn offer(&mut self, other: Widest) {
        if other.score >= self.score {
            *self = other;
        }
    }
}

/// How many different hashes were added: HyperLogLog (Flajolet and others, 2007) with linear counting for few. 128 registers, so
/// within about 9 %.
#[derive(Debug)]
struct Distinct {
    registers: [u8; REGISTERS],
    zeros: u32,
    /// Sum of 2^-register, times 2^32.
    sum: u64,
    estimate: u64,
}

impl Default for Distinct {
    fn default() -> Self {
        Self { registers: [0; REGISTERS], zeros: REGISTERS as u32, sum: (REGISTERS as u64) << 32, estimate: 0 }
    }
}

impl Distinct {
    /// The new estimate.
    fn add(&mut self, hash: u64) -> u64 {
        let register = &mut self.registers[(hash >> 57) as usize];
        let rank = ((hash << 7 | 1 << 6).leading_zeros() as u8 + 1).min(RANK_MAX);
        if rank > *register {
            self.zeros -= u32::from(*register == 0);
            self.sum -= 1 << (32 - *register);
            self.sum += 1 << (32 - rank);
            *register = rank;
            self.estimate = self.count();
        }
        self.estimate
    }

    fn count(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum = self.sum as f64 / (1u64 << 32) as f64;
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let few = raw <= 2.5 * registers && self.zeros > 0;
        let count = if few { registers * (registers / f64::from(self.zeros)).ln() } else { raw };
        count.round() as u64
    }
}

/// Where the segments of a route begin and end. A query is one segment; so is everything from the last level on.
fn segments(route: &str) -> impl Iterator<Item = (usize, usize)> {
    let path_end = route.find('?').unwrap_or(route.len());
    let mut at = Some(usize::from(route.starts_with('/')));
    let mut level = 0;
    std::iter::from_fn(move || {
        let start = at?;
        level += 1;
        if start > path_end {
            at = None;
            return Some((start, route.len()));
        }
        let end = match route[start..path_end].find('/') {
            Some(_) if level == LEVELS_MAX => path_end,
            Some(len) => start + len,
            None => path_end,
        };
        at = if end < route.len() && level < LEVELS_MAX { Some(end + 1) } else { None };
        Some((start, end))
    })
}

/// The route up to a segment, with `*` for it and for those that were passed as such.
fn template(route: &str, depth: usize, start: usize, starred: u32) -> String {
    let mut out = String::with_capacity(start + 1);
    let mut copied = 0;
    for (level, (from, to)) in segments(route).take(depth).enumerate() {
        if starred & (1 << level) != 0 {
            out.push_str(&route[copied..from]);
            out.push('*');
            copied = to;
        }
    }
    out.push_str(&route[copied..start]);
    out.push('*');
    out
}

/// A number, an address, or a long word with digits in it, such as a UUID or a hash.
fn looks_like_an_id(value: &str) -> bool {
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let is_number = has_digit && value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_'));
    is_number || value.contains('@') || (has_digit && value.len() >= 16)
}

fn hash_of(text: &str) -> u64 {
    mix(fnv1a(FNV_OFFSET, text.as_bytes()))
}

fn child_of(id: u64, value: &str) -> u64 {
    fnv1a(fnv1a(id, b"/"), value.as_bytes())
}

/// More values than this at one place are hardly ever meant.
const WIDE: u64 = 200;
const NODES_MAX: usize = 512;
/// With its key and a share of free places.
const NODE_BYTES: usize = (size_of::<Spot>() + 9) * 2;
const NAMES_MAX: usize = 64;
const LEVELS_MAX: usize = 8;
const REGISTERS: usize = 128;
const RANK_MAX: u8 = 32;

#[cfg(test)]
mod tests;
