//! Configuration: environment variables only, read once, checked before anything is bound.
//!
//! What arrives: an [`Env`], the environment of the process or a map in a test. What leaves: plain typed values for the
//! services and a list of [`Setting`]s, one per knob, from which `--print-config`, `check-config` and the reference page are
//! made. A service cannot read a knob without registering it, so the list is complete.
//!
//! Promised: every problem is reported, not only the first one, one clear line each with the name of the variable; a secret
//! appears in no message and no table. An empty value counts as "not set", because compose files and shells produce it.
//!
//! Not done: files, command-line overrides, reloading. A changed setting is a restart.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;

mod units;

#[cfg(test)]
mod tests;

/// Where settings come from.
pub trait Env {
    fn get(&self, name: &str) -> Option<String>;

    /// Every name that is set, to find misspelt ones. May be empty when the source cannot tell.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<String> {
        // Lossy on purpose: a value that is not UTF-8 must fail its check by name, not vanish.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }
}

impl<K: Borrow<str> + Ord, V: AsRef<str>> Env for BTreeMap<K, V> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).map(|value| value.as_ref().to_owned())
    }

    fn names(&self) -> Vec<String> {
        self.keys().map(|name| name.borrow().to_owned()).collect()
    }
}

/// One registered knob, as text for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    pub meaning: &'static str,
    /// What may be written: a range with its unit, the choices, or the form.
    pub accepts: String,
    pub default: String,
    /// What this process uses. Never the text of a secret.
    pub effective: String,
    pub secret: bool,
}

/// One reason not to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Problem {
    pub name: String,
    pub message: String,
}

/// Every reason not to start, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// `EX_USAGE`'s neighbour for configuration: the process refused to start because of what it was told.
    pub const EXIT_CODE: u8 = 64;
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

/// Reads knobs and remembers each. A problem is collected and the default returned in its place, so that one run reports
/// everything; [`Settings::finish`] decides.
pub struct Settings<'e> {
    env: &'e dyn Env,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl<'e> Settings<'e> {
    pub fn new(env: &'e dyn Env) -> Self {
        Self { env, settings: Vec::new(), problems: Vec::new() }
    }

    /// A whole number. `meaning` says what it does and its unit.
    pub fn u64(&mut self, name: &'static str, default: u64, range: RangeInclusive<u64>, meaning: &'static str) -> u64 {
        let accepts = format!("{}..{}", range.start(), range.end());
        self.read(name, default, accepts, meaning, u64::to_string, |text| {
            let value: u64 = text.parse().map_err(|_| "is not a whole number".to_owned())?;
            within(value, &range, u64::to_string)
        })
    }

    /// How many of something that works best once per core: one per core up to `most`, unless told otherwise. The default is
    /// shown as a rule and not as this machine's number, so that the reference page is the same everywhere.
    pub fn per_core(
        &mut self,
        name: &'static str,
        most: u64,
        range: RangeInclusive<u64>,
        meaning: &'static str,
    ) -> u64 {
        debug_assert!(range.contains(&most), "the default of {name} is in its range");
        let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u64);
        let value = self.u64(name, cores.clamp(*range.start(), most), range, meaning);
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.name == name) {
            setting.default = format!("one per core, at most {most}");
        }
        value
    }

    /// A number of bytes: `65536`, `64KiB`, `8MiB`, `1GiB`.
    pub fn bytes(
        &mut self,
        name: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
        meaning: &'static str,
    ) -> usize {
        let show = |value: &usize| units::show_bytes(*value);
        let accepts = format!("{}..{}", show(range.start()), show(range.end()));
        self.read(name, default, accepts, meaning, show, |text| within(units::parse_bytes(text)?, &range, show))
    }

    /// A span of time; default and range in milliseconds. `250` means milliseconds; `250ms`, `10s`, `5min`, `24h`, `7d` work too.
    pub fn duration_ms(
        &mut self,
        name: &'static str,
        default_ms: u64,
        range_ms: RangeInclusive<u64>,
        meaning: &'static str,
    ) -> Duration {
        let show = |value: &u64| units::show_ms(*value);
        let accepts = format!("{}..{}", show(range_ms.start()), show(range_ms.end()));
        let value_ms =
            self.read(name, default_ms, accepts, meaning, show, |text| within(units::parse_ms(text)?, &range_ms, show));
        Duration::from_millis(value_ms)
    }

    pub fn string(&mut self, name: &'static str, default: &str, meaning: &'static str) -> String {
        self.read(name, default.to_owned(), "text".to_owned(), meaning, String::clone, |text| Ok(text.to_owned()))
    }

    /// Comma-separated text; blanks around an item are dropped.
    pub fn list(&mut self, name: &'static str, default: &str, meaning: &'static str) -> Vec<String> {
        let text = self.string(name, default, meaning);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// One of a few words.
    pub fn choice(
        &mut self,
        name: &'static str,
        default: &'static str,
        choices: &[&'static str],
        meaning: &'static str,
    ) -> &'static str {
        debug_assert!(choices.contains(&default), "the default of {name} is one of its choices");
        let accepts = choices.join(" | ");
        let expected = accepts.clone();
        self.read(
            name,
            default,
            accepts,
            meaning,
            |value| (*value).to_owned(),
            |text| {
                choices
                    .iter()
                    .find(|choice| **choice == text)
                    .copied()
                    .ok_or_else(|| format!("is unknown; expected {expected}"))
            },
        )
    }

    /// `true` or `false`, `1` or `0`.
    pub fn flag(&mut self, name: &'static str, default: bool, meaning: &'static str) -> bool {
        self.read(name, default, "true | false".to_owned(), meaning, bool::to_string, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        })
    }

    /// An address to listen on: `127.0.0.1:4318`, `[::]:4318`, `localhost:4318`.
    pub fn address(&mut self, name: &'static str, default: &str, meaning: &'static str) -> SocketAddr {
        let default = units::parse_address(default).expect("a default address is a valid address");
        self.read(name, default, "host:port".to_owned(), meaning, SocketAddr::to_string, units::parse_address)
    }

    /// Text that must not be shown. No default: absent is absent.
    pub fn secret(&mut self, name: &'static str, meaning: &'static str) -> Option<SecretString> {
        let value = self.text(name);
        let effective = if value.is_some() { "(set, redacted)" } else { "(not set)" };
        self.register(Setting {
            name,
            meaning,
            accepts: "secret".to_owned(),
            default: "(not set)".to_owned(),
            effective: effective.to_owned(),
            secret: true,
        });
        value.map(SecretString::from)
    }

    /// For what one value alone cannot show: two settings that contradict each other, a secret that is required.
    pub fn problem(&mut self, name: &str, message: impl Into<String>) {
        let problem = Problem { name: name.to_owned(), message: message.into() };
        // The same knob read by two services is one problem.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The knobs read so far, in the order of reading.
    pub fn registered(&self) -> &[Setting] {
        &self.settings
    }

    /// Variables that look like ours, are no setting, and are one slip of the pen away from one: `(written, meant)`.
    pub fn misspelt(&self) -> Vec<(String, &'static str)> {
        let known: Vec<&'static str> = self.settings.iter().map(|setting| setting.name).collect();
        let mut found = Vec::new();
        for written in self.env.names() {
            if !written.starts_with("PEEP_") || known.contains(&written.as_str()) {
                continue;
            }
            let near = known.iter().find(|name| units::at_most_two_edits(name, &written));
            found.extend(near.map(|name| (written.clone(), *name)));
        }
        found.sort();
        found
    }

    /// All knobs when nothing was wrong, all problems otherwise.
    pub fn finish(self) -> Result<Vec<Setting>, ConfigErrors> {
        if self.problems.is_empty() { Ok(self.settings) } else { Err(ConfigErrors { problems: self.problems }) }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.env.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        default: T,
        accepts: String,
        meaning: &'static str,
        show: impl Fn(&T) -> String,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let default_text = show(&default);
        let value = match self.text(name).map(|text| parse(&text).map_err(|why| format!("{text:?} {why}"))) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(message)) => {
                self.problem(name, message);
                default
            }
        };
        let effective = show(&value);
        self.register(Setting { name, meaning, accepts, default: default_text, effective, secret: false });
        value
    }

    /// Services in one process share knobs (the log, the database): the first registration stays.
    fn register(&mut self, setting: Setting) {
        match self.settings.iter().find(|known| known.name == setting.name) {
            None => self.settings.push(setting),
            Some(known) => {
                debug_assert_eq!(known, &setting, "a setting read twice is declared the same way");
            }
        }
    }
}

fn within<T: PartialOrd>(value: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("is out of range; expected {}..{}", show(range.start()), show(range.end())))
    }
}
