//! The rules of findings: what a service did lately, against what is usual for it.
//!
//! Arrives: sums per step of one service, oldest first, and its [`Usual`]. Leaves: what is wrong or was until a moment ago,
//! since when, and how many requests it concerns. Promises: a pure function of its arguments; nothing is said from fewer
//! requests than the rule names, and a share is only called higher when the lower end of its interval is.
//! Does not: read anything, or know routes, hosts and releases ([`crate::findings`]).
//!
//! | | while |
//! | --- | --- |
//! | failing | at least 10 errors, 1 % of all, 3 times the usual share, and the lower 95 % bound (Wilson) above it |
//! | slower | at least 200 requests with a duration, p99 at least 1.5 times the usual p99, and 2 % beyond that |
//! | silent | at least one request a second is usual, and none came for a minute |
//!
//! *Since* is the first step from which at least 80 % of the steps hold, to the last that does. To hold, a step must be bad
//! by itself; one without requests tells nothing. What was bad and then was not for six steps with requests is *recovered*.
//! Where few requests come, a step may be free of errors by chance while all goes on: then so many steps count together that at least
//! three bad requests are to be expected in them, and it takes three such groups without to be over.

/// Sums of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// First second.
    pub at_s: i64,
    /// Requests.
    pub count: u64,
    /// Failed requests.
    pub errors: u64,
    /// Requests with a duration.
    pub timed: u64,
    /// Of those: longer than the usual p99.
    pub slow: u64,
    /// Of those: at least 1.5 times the usual p99.
    pub very_slow: u64,
}

/// What a service does when all is well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Requests in the window.
    pub count: u64,
    /// Failed requests in it.
    pub errors: u64,
    /// Requests with a duration in it.
    pub timed: u64,
    /// Their p99.
    pub p99_us: Option<u64>,
    /// Seconds of the window.
    pub seconds: f64,
}

impl Usual {
    /// Failed requests as a share of all.
    pub fn error_share(&self) -> f64 {
        share(self.errors, self.count)
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds.max(1.0)
    }

    /// Shortest duration that is very slow, µs.
    pub fn very_slow_us(&self) -> Option<u64> {
        self.p99_us.map(|p99_us| (p99_us as f64 * SLOWER_TIMES).ceil() as u64)
    }
}

/// What is wrong. In the order in which findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Requests fail.
    Failing,
    /// No requests come.
    Silent,
    /// Requests take longer.
    Slower,
}

impl Kind {
    /// As answers call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::Slower => "slower",
        }
    }
}

/// How the steps are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Width of a step, seconds.
    pub step_s: i64,
    /// How many steps are judged together: "now".
    pub judged: usize,
    /// How many steps back a recovery is still told.
    pub remembered: usize,
}

/// Something that is wrong with a service, or was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// What.
    pub kind: Kind,
    /// First second of the first bad step.
    pub since_s: i64,
    /// It may have begun earlier: the first step that is known is bad already, or so few are known before that they may be good by chance.
    pub is_open: bool,
    /// First second after it, `None` while it lasts.
    pub recovered_s: Option<i64>,
    /// Sums over the judged steps.
    pub judged: Step,
    /// Failed or slowed requests since then.
    pub affected: u64,
    /// Last second that counts for `affected`, exclusive.
    pub until_s: i64,
}

/// What is wrong with a service. `steps` are ascending and without holes; steps without requests are there with zeros.
pub fn judge(steps: &[Step], usual: &Usual, scope: Scope) -> Vec<Verdict> {
    debug_assert!(steps.windows(2).all(|pair| pair[1].at_s - pair[0].at_s == scope.step_s), "no holes");
    let mut verdicts: Vec<Verdict> =
        [Kind::Failing, Kind::Slower].into_iter().filter_map(|kind| bad_requests(kind, steps, usual, scope)).collect();
    verdicts.extend(silence(steps, usual, scope));
    verdicts.sort_by_key(|verdict| verdict.kind);
    verdicts
}

/// When what is bad at the end of the steps began, and whether it may have been earlier than they.
pub fn began_s(kind: Kind, steps: &[Step], usual: &Usual) -> Option<(i64, bool)> {
    let first = match kind {
        Kind::Silent => steps.iter().rposition(|step| step.count > 0).map_or(0, |busy| busy + 1),
        _ => {
            let marks = Marks::of(kind, steps, usual);
            marks.begin(marks.last_bad(steps.len())?)?
        }
    };
    steps.get(first).map(|step| (step.at_s, first == 0))
}

/// First second of the first step that is bad by itself.
pub fn first_bad_s(kind: Kind, steps: &[Step], usual: &Usual) -> Option<i64> {
    let marks = Marks::of(kind, steps, usual);
    (0..steps.len()).find(|&at| marks.is_bad(at)).map(|at| steps[at].at_s)
}

/// Lower end of the 95 % interval (Wilson) of a share that was seen as `hits` of `all`.
pub fn wilson_lower(hits: u64, all: u64) -> f64 {
    if all == 0 {
        return 0.0;
    }
    let (n, p, z2) = (all as f64, share(hits, all), Z_95 * Z_95);
    let middle = p + z2 / (2.0 * n);
    let half = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((middle - half) / (1.0 + z2 / n)).clamp(0.0, p)
}

fn bad_requests(kind: Kind, steps: &[Step], usual: &Usual, scope: Scope) -> Option<Verdict> {
    let marks = Marks::of(kind, steps, usual);
    let last = marks.last_bad(steps.len())?;
    let judged = |end: usize| sum(&steps[end.saturating_sub(scope.judged)..end]);
    let now = judged(steps.len());
    let lasts = applies(kind, &now, usual);
    let good_min = marks.good_min(lasts);
    if lasts && marks.good_after(last) < good_min {
        // Scattered over the judged steps: then it is as old as the first of them that is bad.
        let from = steps.len().saturating_sub(scope.judged);
        let first = marks.begin(last).or_else(|| (from..=last).find(|&at| marks.is_bad(at)))?;
        return Some(verdict(kind, steps, scope, (first, marks.is_open(first)), None, steps.len(), now));
    }
    // The newest time at which the rule held and after which it got well.
    let oldest = steps.len().saturating_sub(scope.remembered);
    let mut ends = (oldest..=last).rev().filter(|&end| marks.is_bad(end) && marks.good_after(end) >= good_min);
    ends.find_map(|end| {
        let sums = judged(end + 1);
        let first = marks.begin(end).filter(|first| end + 1 - first >= BAD_STEPS)?;
        let begin = (first, marks.is_open(first));
        applies(kind, &sums, usual).then(|| verdict(kind, steps, scope, begin, Some(end + 1), end + 1, sums))
    })
}

fn verdict(
    kind: Kind,
    steps: &[Step],
    scope: Scope,
    (first, is_open): (usize, bool),
    recovered: Option<usize>,
    end: usize,
    judged: Step,
) -> Verdict {
    let since = sum(&steps[first..end]);
    let affected = if kind == Kind::Failing { since.errors } else { since.slow };
    let end_of = |index: usize| steps[0].at_s + index as i64 * scope.step_s;
    Verdict {
        kind,
        since_s: steps[first].at_s,
        is_open,
        recovered_s: recovered.map(end_of),
        judged,
        affected,
        until_s: end_of(end),
    }
}

/// Whether the rule holds for these sums.
fn applies(kind: Kind, now: &Step, usual: &Usual) -> bool {
    match kind {
        Kind::Failing => {
            let (now_share, usual_share) = (share(now.errors, now.count), usual.error_share());
            now.errors >= FAILING_ERRORS_MIN
                && now_share >= FAILING_SHARE_MIN
                && now_share >= FAILING_TIMES * usual_share
                && wilson_lower(now.errors, now.count) > usual_share
        }
        Kind::Slower => {
            // p99 is the value at the nearest rank: it is very slow when more requests are than lie above that rank.
            let above_rank = now.timed - (now.timed * 99).div_ceil(100);
            usual.p99_us.is_some_and(|us| us > 0)
                && usual.timed >= SLOWER_TIMED_MIN
                && now.timed >= SLOWER_TIMED_MIN
                && now.very_slow > above_rank
                && share(now.slow, now.timed) >= SLOWER_SHARE_MIN
        }
        Kind::Silent => false,
    }
}

fn silence(steps: &[Step], usual: &Usual, scope: Scope) -> Option<Verdict> {
    let needed = usize::try_from((SILENT_S + scope.step_s - 1) / scope.step_s).unwrap_or(1).max(1);
    if usual.rate() < SILENT_RATE_MIN {
        return None;
    }
    let oldest = steps.len().saturating_sub(scope.remembered);
    // From the newest silence back: the one that lasts, or the last that ended.
    let mut end = steps.len();
    while end > oldest {
        let first = steps[..end].iter().rposition(|step| step.count > 0).map_or(0, |busy| busy + 1);
        if end - first >= needed {
            let recovered = (end < steps.len()).then_some(end);
            let judged = sum(&steps[end.saturating_sub(scope.judged)..end]);
            return Some(verdict(Kind::Silent, steps, scope, (first, first == 0), recovered, end, judged));
        }
        end = first.checked_sub(1)?;
    }
    None
}

/// Whether each step is bad by itself; `None`: without requests there is nothing to tell. Indices are those of steps, also where
/// several count together.
struct Marks {
    marks: Vec<Option<bool>>,
    /// Bad, and told, before each group.
    sums: Vec<(usize, usize)>,
    /// Which group each step is in.
    group_of: Vec<usize>,
    groups: Vec<Option<bool>>,
    /// Steps that count together.
    width: usize,
}

impl Marks {
    fn of(kind: Kind, steps: &[Step], usual: &Usual) -> Self {
        let failing_share = FAILING_SHARE_MIN.max(FAILING_TIMES * usual.error_share());
        let mark = |step: &Step| match kind {
            Kind::Failing => {
                (step.count > 0).then(|| step.errors > 0 && share(step.errors, step.count) >= failing_share)
            }
            _ => (step.timed > 0).then(|| step.slow > 0 && share(step.slow, step.timed) >= SLOWER_SHARE_MIN),
        };
        let marks: Vec<Option<bool>> = steps.iter().map(mark).collect();
        let width = width(kind, steps);
        // Groups lie still while steps come and go.
        let step_s = steps.get(1).map_or(1, |step| (step.at_s - steps[0].at_s).max(1));
        let number = |step: &Step| step.at_s.div_euclid(step_s * width as i64);
        let (mut group_of, mut groups) = (Vec::with_capacity(steps.len()), Vec::new());
        for together in steps.chunk_by(|left, right| number(left) == number(right)) {
            group_of.resize(group_of.len() + together.len(), groups.len());
            groups.push(mark(&sum(together)));
        }
        let mut sums = vec![(0, 0)];
        for mark in &groups {
            let (bad, told) = sums[sums.len() - 1];
            sums.push((bad + usize::from(*mark == Some(true)), told + usize::from(mark.is_some())));
        }
        Self { marks, sums, group_of, groups, width }
    }

    /// Bad itself, in a group that is.
    fn is_bad(&self, at: usize) -> bool {
        self.marks[at] == Some(true) && self.groups[self.group_of[at]] == Some(true)
    }

    /// Too little is known before that step to say that all was well. A service that did not send before began with it.
    fn is_open(&self, first: usize) -> bool {
        let group = self.group_of[first];
        let sent_before = self.groups[..group].first().is_none_or(Option::is_some);
        sent_before && group < self.good_min(true)
    }

    fn last_bad(&self, end: usize) -> Option<usize> {
        (0..end).rev().find(|&at| self.is_bad(at))
    }

    /// How many steps count as that many groups.
    fn groups_in(&self, steps: usize) -> usize {
        steps.div_ceil(self.width)
    }

    /// Groups without after which it is over. When the rule does not hold any more, nothing speaks against it.
    fn good_min(&self, lasts: bool) -> usize {
        let all_well = self.groups_in(GOOD_STEPS);
        if lasts { all_well.max(GOOD_GROUPS) } else { all_well }
    }

    /// Groups with requests after that step's, up to the next that is bad.
    fn good_after(&self, at: usize) -> usize {
        let later = &self.groups[self.group_of[at] + 1..];
        later.iter().take_while(|mark| **mark != Some(true)).filter(|mark| mark.is_some()).count()
    }

    /// Of the groups with requests in `[from, to)`, whether at least 80 % are bad.
    fn mostly_bad(&self, from: usize, to: usize) -> bool {
        let ((bad_from, told_from), (bad_to, told_to)) = (self.sums[from], self.sums[to]);
        let (bad, told) = (bad_to - bad_from, told_to - told_from);
        told > 0 && bad * 5 >= told * 4
    }

    /// The first step from which on most are bad up to `last`. Its own first minute must be bad too: a single bad step long
    /// before is not when it began.
    fn begin(&self, last: usize) -> Option<usize> {
        let end = self.group_of[last] + 1;
        let first_minute = |group: usize| (group + self.groups_in(BEGIN_STEPS)).min(end);
        (0..=last).find(|&at| {
            let group = self.group_of[at];
            self.is_bad(at) && self.mostly_bad(group, end) && self.mostly_bad(group, first_minute(group))
        })
    }
}

/// How many steps count together: by the five minutes with most bad requests.
fn width(kind: Kind, steps: &[Step]) -> usize {
    let bad = |step: &Step| if kind == Kind::Failing { step.errors } else { step.slow };
    let told = |step: &Step| u64::from(if kind == Kind::Failing { step.count > 0 } else { step.timed > 0 });
    let (mut now, mut most) = ((0, 0), (0, 0));
    for (at, step) in steps.iter().enumerate() {
        now = (now.0 + bad(step), now.1 + told(step));
        if let Some(old) = at.checked_sub(WIDTH_STEPS).map(|at| &steps[at]) {
            now = (now.0 - bad(old), now.1 - told(old));
        }
        // The larger share, crosswise.
        if most.1 == 0 || now.0 * most.1 > most.0 * now.1 {
            most = now;
        }
    }
    let is_enough = |width: &usize| *width as u64 * most.0 >= EXPECTED_MIN * most.1;
    WIDTHS.into_iter().find(is_enough).unwrap_or(WIDTHS[WIDTHS.len() - 1])
}

fn sum(steps: &[Step]) -> Step {
    let mut sum = Step { at_s: steps.first().map_or(0, |step| step.at_s), ..Step::default() };
    for step in steps {
        sum.count += step.count;
        sum.errors += step.errors;
        sum.timed += step.timed;
        sum.slow += step.slow;
        sum.very_slow += step.very_slow;
    }
    sum
}

/// A part of a whole, 0 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

const FAILING_ERRORS_MIN: u64 = 10;
const FAILING_SHARE_MIN: f64 = 0.01;
const FAILING_TIMES: f64 = 3.0;
const SLOWER_TIMED_MIN: u64 = 200;
const SLOWER_TIMES: f64 = 1.5;
const SLOWER_SHARE_MIN: f64 = 0.02;
const SILENT_RATE_MIN: f64 = 1.0;
const SILENT_S: i64 = 60;
/// Steps with requests and nothing wrong after which something is over.
const GOOD_STEPS: usize = 6;
/// Where steps count together, at least so many groups.
const GOOD_GROUPS: usize = 3;
/// How many steps may count together.
const WIDTHS: [usize; 5] = [1, 2, 3, 6, 12];
/// Bad requests that a group should have while it lasts: 5 % have none.
const EXPECTED_MIN: u64 = 3;
const WIDTH_STEPS: usize = 30;
/// What lasted shorter is not told once it is over.
const BAD_STEPS: usize = 3;
/// Steps at the beginning that must be mostly bad.
const BEGIN_STEPS: usize = 6;
/// Two-sided 95 %.
const Z_95: f64 = 1.959_963_985;

#[cfg(test)]
mod tests;
