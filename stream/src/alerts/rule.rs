//! Rules: what a person wrote, in types that cannot be wrong, and how they are shown.
//!
//! Arrives: the JSON of a request, or a row of the database. Leaves: a [`Rule`], or an error that names the field and says what to
//! write. Promises: the address of a receiver is never shown beyond its host, and its secret never at all: both may be all that a
//! stranger needs to write into somebody's channel. Does not: touch the database or the network.

use axum::http::StatusCode;
use peep_wire::limits;
use serde_json::{Value, json};

use super::machine::Patience;
use super::webhook::Target as WebhookTarget;
use crate::body::Fields;
use crate::error::ApiError;

/// What is watched and who is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// For people.
    pub name: String,
    /// `None`: every service, each by itself.
    pub service: Option<String>,
    /// `None`: all environments together.
    pub env: Option<String>,
    /// What makes it fire.
    pub target: Target,
    /// True for this long before it fires.
    pub for_s: i32,
    /// False for this long before it stops.
    pub keep_firing_s: i32,
    /// Whether it is looked at.
    pub enabled: bool,
    /// Who is told.
    pub receiver: Option<Receiver>,
}

/// What makes a rule fire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Failed requests use up what may fail too fast.
    ErrorBudget {
        /// Share of requests that should succeed.
        objective: f64,
        /// Over this many days.
        period_days: u32,
    },
    /// A quantile is too high.
    Latency {
        /// Which one.
        quantile: f64,
        /// Above what.
        limit: LatencyLimit,
        /// Of the requests of the last so many seconds.
        window_s: i64,
    },
    /// No requests.
    Silence {
        /// For this long.
        for_s: i64,
    },
}

/// What a quantile is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatencyLimit {
    /// A duration.
    Ms(f64),
    /// So many times what it was at this time yesterday, or in the hour before.
    TimesUsual(f64),
}

/// A webhook.
#[derive(Clone, PartialEq)]
pub struct Receiver {
    /// Where.
    pub url: String,
    /// Signs what is sent.
    pub secret: Option<String>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receiver({})", self.shown())
    }
}

impl Receiver {
    /// The address without what may be secret in it.
    pub fn shown(&self) -> String {
        WebhookTarget::parse(&self.url).map_or_else(|_| "…".to_owned(), |target| format!("{}/…", target.origin()))
    }
}

/// The body of a request that makes or changes a rule.
pub struct Draft {
    name: Option<String>,
    service: Option<String>,
    env: Option<String>,
    target: Target,
    for_s: Option<i64>,
    keep_firing_s: Option<i64>,
    enabled: Option<bool>,
    receiver: Option<ReceiverDraft>,
}

/// Who is told, as it is written.
pub struct ReceiverDraft {
    kind: Option<String>,
    /// Left out when changing a rule: the one it has.
    url: Option<String>,
    secret: Option<String>,
}

impl ReceiverDraft {
    /// The field `receiver` of a body.
    pub fn read(body: &mut Fields) -> Result<Option<Self>, ApiError> {
        let Some(mut fields) = body.inner("receiver", "receiver.")? else { return Ok(None) };
        let draft = Self { kind: fields.text("kind")?, url: fields.text("url")?, secret: fields.text("secret")? };
        fields.ignore(&["url_shown"]);
        fields.end()?;
        Ok(Some(draft))
    }

    /// Checked; what is left out is taken from `known`.
    pub fn checked(self, known: Option<&Receiver>) -> Result<Receiver, ApiError> {
        if self.kind.as_deref() != Some("webhook") {
            return Err(invalid("receiver.kind", "write `webhook`, the only kind there is"));
        }
        let url = match (self.url, known) {
            (Some(url), _) => url,
            (None, Some(known)) => {
                return Ok(Receiver { url: known.url.clone(), secret: self.secret.or_else(|| known.secret.clone()) });
            }
            (None, None) => return Err(invalid("receiver.url", "is missing; write where alerts are sent to")),
        };
        WebhookTarget::parse(&url)
            .map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "webhook_refused", why))?;
        if self.secret.as_ref().is_some_and(|secret| !(8..=200).contains(&secret.len())) {
            return Err(invalid("receiver.secret", "write 8 to 200 characters"));
        }
        Ok(Receiver { url, secret: self.secret })
    }
}

/// Reads the fields of one kind.
type ReadTarget = fn(&mut Fields) -> Result<Target, ApiError>;

impl Draft {
    /// What was written. What the service itself says about a rule may be sent along and is ignored.
    pub fn read(mut body: Fields) -> Result<Self, ApiError> {
        let kind = body.text("kind")?;
        let target = body.inner("target", "target.")?;
        let (name, service, env) = (body.text("name")?, body.text("service")?, body.text("env")?);
        let (for_s, keep_firing_s) = (body.integer("for_s")?, body.integer("keep_firing_s")?);
        let (enabled, receiver) = (body.flag("enabled")?, ReceiverDraft::read(&mut body)?);
        body.ignore(&["id", "state", "since_ms", "sentence", "value", "burn", "window", "evaluated_ms"]);
        body.end()?;
        let kind = kind.ok_or_else(|| invalid("kind", &format!("is missing; {KINDS}")))?;
        let target = Target::read(&kind, target)?;
        Ok(Self { name, service, env, target, for_s, keep_firing_s, enabled, receiver })
    }

    /// For questions about what it would have done: who is told does not matter yet.
    pub fn checked_without_receiver(self) -> Result<Rule, ApiError> {
        Self { receiver: None, ..self }.checked(None)
    }

    /// A rule; what is left out of the receiver is taken from `known`.
    pub fn checked(self, known: Option<&Rule>) -> Result<Rule, ApiError> {
        let target = self.target;
        let name = self.name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| target.name());
        if name.chars().count() > 200 || name.chars().any(char::is_control) {
            return Err(invalid("name", "write at most 200 characters on one line"));
        }
        let patience = target.patience_default();
        let seconds = |name: &'static str, value: Option<i64>, default: i64| {
            let value = value.unwrap_or(default / 1000);
            let fits = i32::try_from(value).ok().filter(|value| (0..=86_400).contains(value));
            fits.ok_or_else(|| invalid(name, "write seconds from 0 to 86400"))
        };
        let known_receiver = known.and_then(|known| known.receiver.as_ref());
        Ok(Rule {
            name,
            service: label("service", self.service, limits::SERVICE_BYTES_MAX)?,
            env: label("env", self.env, limits::ENV_BYTES_MAX)?,
            target,
            for_s: seconds("for_s", self.for_s, patience.for_ms)?,
            keep_firing_s: seconds("keep_firing_s", self.keep_firing_s, patience.keep_firing_ms)?,
            enabled: self.enabled.unwrap_or(true),
            receiver: self.receiver.map(|receiver| receiver.checked(known_receiver)).transpose()?,
        })
    }
}

impl Rule {
    /// How long until it changes its mind.
    pub fn patience(&self) -> Patience {
        Patience { for_ms: i64::from(self.for_s) * 1000, keep_firing_ms: i64::from(self.keep_firing_s) * 1000 }
    }

    /// What a person wrote, as the API shows it.
    pub fn to_json(&self) -> Value {
        let receiver = self.receiver.as_ref().map(|receiver| json!({"kind": "webhook", "url_shown": receiver.shown()}));
        json!({
            "name": self.name,
            "service": self.service,
            "env": self.env,
            "kind": self.target.kind(),
            "target": self.target.to_json(),
            "for_s": self.for_s,
            "keep_firing_s": self.keep_firing_s,
            "enabled": self.enabled,
            "receiver": receiver,
        })
    }
}

impl Target {
    /// Checked, from JSON.
    fn read(kind: &str, target: Option<Fields>) -> Result<Self, ApiError> {
        let (read, example): (ReadTarget, _) = match kind {
            "error_budget" => (Self::read_error_budget, r#"{"objective": 0.999, "period_days": 30}"#),
            "latency" => {
                (Self::read_latency, r#"{"quantile": 0.99, "limit_ms": 500} or {"quantile": 0.99, "times_usual": 2}"#)
            }
            "silence" => (Self::read_silence, r#"{"for_s": 120}"#),
            _ => return Err(invalid("kind", KINDS)),
        };
        let missing = || invalid("target", &format!("is missing; write for example {example}"));
        let mut fields = target.ok_or_else(missing)?;
        let target = read(&mut fields);
        // A misspelt field is the reason for one that is missing.
        fields.end()?;
        target
    }

    fn read_error_budget(fields: &mut Fields) -> Result<Self, ApiError> {
        let (objective, period_days) = (fields.number("objective")?, fields.integer("period_days")?.unwrap_or(30));
        let objective = objective
            .filter(|objective| (0.5..=0.99999).contains(objective))
            .ok_or_else(|| invalid("target.objective", "write the share that should succeed, from 0.5 to 0.99999"))?;
        let period_days = u32::try_from(period_days).ok().filter(|days| (7..=90).contains(days));
        let period_days = period_days.ok_or_else(|| invalid("target.period_days", "write days from 7 to 90"))?;
        Ok(Self::ErrorBudget { objective, period_days })
    }

    fn read_latency(fields: &mut Fields) -> Result<Self, ApiError> {
        let (quantile, window_s) = (fields.number("quantile")?, fields.integer("window_s")?.unwrap_or(300));
        let (limit_ms, times_usual) = (fields.number("limit_ms")?, fields.number("times_usual")?);
        let quantile = quantile.filter(|quantile| (0.01..=0.9999).contains(quantile));
        let quantile = quantile.ok_or_else(|| invalid("target.quantile", "write a quantile from 0.01 to 0.9999"))?;
        let limit = match (limit_ms, times_usual) {
            (Some(ms), None) if (0.001..=3_600_000.0).contains(&ms) => LatencyLimit::Ms(ms),
            (None, Some(times)) if (1.01..=1000.0).contains(&times) => LatencyLimit::TimesUsual(times),
            (Some(_), None) => return Err(invalid("target.limit_ms", "write milliseconds up to 3600000")),
            (None, Some(_)) => return Err(invalid("target.times_usual", "write a factor from 1.01 to 1000")),
            _ => return Err(invalid("target", "write either `limit_ms` or `times_usual`")),
        };
        if !(30..=3600).contains(&window_s) || window_s % 10 != 0 {
            return Err(invalid("target.window_s", "write a multiple of 10 s from 30 to 3600"));
        }
        Ok(Self::Latency { quantile, limit, window_s })
    }

    fn read_silence(fields: &mut Fields) -> Result<Self, ApiError> {
        let for_s = fields.integer("for_s")?.filter(|for_s| (20..=86_400).contains(for_s));
        let for_s = for_s.ok_or_else(|| invalid("target.for_s", "write seconds from 20 to 86400"))?;
        Ok(Self::Silence { for_s })
    }

    /// As the database has it.
    pub fn stored(kind: &str, target: Value) -> Result<Self, ApiError> {
        let Value::Object(target) = target else { return Err(invalid("target", "is no object")) };
        Self::read(kind, Some(Fields::of_object(target, "target.", invalid)))
    }

    /// As the API and the database call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ErrorBudget { .. } => "error_budget",
            Self::Latency { .. } => "latency",
            Self::Silence { .. } => "silence",
        }
    }

    /// The figures of its kind.
    pub fn to_json(self) -> Value {
        match self {
            Self::ErrorBudget { objective, period_days } => json!({"objective": objective, "period_days": period_days}),
            Self::Latency { quantile, limit: LatencyLimit::Ms(ms), window_s } => {
                json!({"quantile": quantile, "limit_ms": ms, "window_s": window_s})
            }
            Self::Latency { quantile, limit: LatencyLimit::TimesUsual(times), window_s } => {
                json!({"quantile": quantile, "times_usual": times, "window_s": window_s})
            }
            Self::Silence { for_s } => json!({"for_s": for_s}),
        }
    }

    /// Burn rates and silence look at stretches of time by themselves; a quantile of five minutes may be one slow minute.
    fn patience_default(&self) -> Patience {
        match self {
            Self::ErrorBudget { .. } => Patience { for_ms: 0, keep_firing_ms: 300_000 },
            Self::Latency { .. } => Patience { for_ms: 60_000, keep_firing_ms: 300_000 },
            Self::Silence { .. } => Patience { for_ms: 0, keep_firing_ms: 60_000 },
        }
    }

    fn name(&self) -> String {
        match self {
            Self::ErrorBudget { objective, period_days } => {
                format!("{} of requests succeed over {period_days} days", percent(*objective))
            }
            Self::Latency { quantile, limit: LatencyLimit::Ms(ms), .. } => {
                format!("{} stays under {}", quantile_name(*quantile), show_ms(*ms))
            }
            Self::Latency { quantile, limit: LatencyLimit::TimesUsual(times), .. } => {
                format!("{} stays under {times}× its usual", quantile_name(*quantile))
            }
            Self::Silence { for_s } => format!("No requests for {}", show_seconds(*for_s)),
        }
    }
}

/// Three to begin with, one click each.
pub fn presets() -> Value {
    let preset = |target: Target| {
        let rule = Rule {
            name: target.name(),
            service: None,
            env: None,
            target,
            for_s: seconds_of(target.patience_default().for_ms),
            keep_firing_s: seconds_of(target.patience_default().keep_firing_ms),
            enabled: true,
            receiver: None,
        };
        rule.to_json()
    };
    json!({"presets": [
        preset(Target::ErrorBudget { objective: 0.999, period_days: 30 }),
        preset(Target::Latency { quantile: 0.99, limit: LatencyLimit::TimesUsual(2.0), window_s: 300 }),
        preset(Target::Silence { for_s: 120 }),
    ]})
}

fn seconds_of(ms: i64) -> i32 {
    i32::try_from(ms / 1000).unwrap_or(i32::MAX)
}

/// One that an event may have: a rule about another would wait for ever.
fn label(name: &str, value: Option<String>, bytes_max: usize) -> Result<Option<String>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    if value.is_empty() || value.len() > bytes_max || !value.bytes().all(limits::is_name_byte) {
        let why = format!("write 1 to {bytes_max} of A-Z a-z 0-9 . _ / -, or leave it out for all");
        return Err(invalid(name, &why));
    }
    Ok(Some(value))
}

/// A field of a rule that cannot be used.
pub fn invalid(field: &str, why: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rule", format!("`{field}`: {why}"))
}

/// `0.999` to `99.9 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent.abs() >= 10.0 { 3 } else { 2 };
    let text = format!("{percent:.digits$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `0.99` to `p99`, `0.999` to `p99.9`.
pub fn quantile_name(quantile: f64) -> String {
    let text = format!("{:.2}", quantile * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `1840` to `1.84 s`.
pub fn show_ms(ms: f64) -> String {
    let trimmed = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if ms >= 1000.0 {
        format!("{} s", trimmed(format!("{:.2}", ms / 1000.0)))
    } else {
        format!("{} ms", trimmed(format!("{ms:.1}")))
    }
}

/// `120` to `2 min`.
pub fn show_seconds(seconds: i64) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 && s == 60 => "1 minute".to_owned(),
        s if s % 60 == 0 => format!("{} minutes", s / 60),
        s => format!("{s} s"),
    }
}

const KINDS: &str = "write error_budget, latency or silence";

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(json: Value) -> Result<Rule, ApiError> {
        read(json)?.checked(None)
    }

    fn read(json: Value) -> Result<Draft, ApiError> {
        let Value::Object(fields) = json else { panic!("no object") };
        Draft::read(Fields::of_object(fields, "", invalid))
    }

    #[test]
    fn a_preset_is_a_rule_that_can_be_sent_as_it_is() {
        let presets = presets();
        let names: Vec<&str> =
            presets["presets"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(
            names,
            ["99.9 % of requests succeed over 30 days", "p99 stays under 2× its usual", "No requests for 2 minutes"]
        );
        for preset in presets["presets"].as_array().expect("a list") {
            assert_eq!(&draft(preset.clone()).expect("valid").to_json(), preset);
        }
    }

    #[test]
    fn nonsense_is_named_with_its_field() {
        let cases = [
            (json!({}), "`kind`"),
            (json!({"kind": "weather"}), "`kind`"),
            (json!({"kind": "silence"}), "`target`"),
            (json!({"kind": "silence", "target": {"for_s": 1}}), "`target.for_s`"),
            (json!({"kind": "error_budget", "target": {"objective": 1.0}}), "`target.objective`"),
            (json!({"kind": "error_budget", "target": {"objective": 0.99, "period_days": 1}}), "`target.period_days`"),
            (json!({"kind": "latency", "target": {"quantile": 0.99}}), "`target`"),
            (json!({"kind": "latency", "target": {"quantile": 0.99, "limit_ms": 5, "times_usual": 2}}), "`target`"),
            (json!({"kind": "latency", "target": {"quantile": 2, "limit_ms": 5}}), "`target.quantile`"),
            (
                json!({"kind": "latency", "target": {"quantile": 0.5, "limit_ms": 5, "window_s": 35}}),
                "`target.window_s`",
            ),
            (json!({"kind": "silence", "target": {"for_s": 60}, "for_s": -1}), "`for_s`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "service": ""}), "`service`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "service": "a b"}), "`service`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "service": "a".repeat(129)}), "`service`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "env": "a".repeat(65)}), "`env`"),
            (json!({"kind": "silence", "target": {"for": 60}}), "`target.for`"),
            (json!({"kind": "silence", "target": {"for_s": "60"}}), "`target.for_s`"),
            (json!({"kind": "silence", "target": [60]}), "`target`"),
            (
                json!({"kind": "error_budget", "target": {"objective": 0.99, "period_days": 7.5}}),
                "`target.period_days`",
            ),
            (json!({"kind": "silence", "target": {"for_s": 60}, "enabled": "yes"}), "`enabled`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "sevice": "a"}), "`sevice`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "receiver": {"kind": "mail"}}), "`receiver.kind`"),
            (json!({"kind": "silence", "target": {"for_s": 60}, "receiver": {"kind": "webhook"}}), "`receiver.url`"),
        ];
        for (json, field) in cases {
            let error = draft(json.clone()).expect_err("nonsense");
            assert!(error.message.starts_with(field), "{json}: {}", error.message);
            assert_eq!((error.status.as_u16(), error.code), (422, "invalid_rule"));
        }
    }

    #[test]
    fn an_address_is_shown_without_its_path_and_kept_when_it_is_not_sent_again() {
        let with = |receiver: Value| json!({"kind": "silence", "target": {"for_s": 60}, "receiver": receiver});
        let rule =
            draft(with(json!({"kind": "webhook", "url": "https://hooks.example/T0/secret", "secret": "0123456789"})));
        let rule = rule.expect("valid");
        let shown = rule.to_json();
        assert_eq!(shown["receiver"], json!({"kind": "webhook", "url_shown": "https://hooks.example/…"}));
        assert!(!format!("{rule:?}").contains("secret"));
        let again = read(with(shown["receiver"].clone())).expect("what was shown is accepted");
        assert_eq!(again.checked(Some(&rule)).expect("valid").receiver, rule.receiver);
    }

    #[test]
    fn figures_are_written_as_people_read_them() {
        assert_eq!([percent(0.999), percent(0.0213), percent(0.00012)], ["99.9 %", "2.13 %", "0.01 %"]);
        assert_eq!([quantile_name(0.99), quantile_name(0.999), quantile_name(0.5)], ["p99", "p99.9", "p50"]);
        assert_eq!([show_ms(1840.0), show_ms(402.0), show_ms(0.5)], ["1.84 s", "402 ms", "0.5 ms"]);
        assert_eq!(
            [show_seconds(120), show_seconds(60), show_seconds(3600), show_seconds(90)],
            ["2 minutes", "1 minute", "1 h", "90 s"]
        );
    }
}
