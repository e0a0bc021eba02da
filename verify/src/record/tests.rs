use proptest::prelude::*;
use prost::Message;

use super::*;

/// Series bytes, end relative to receipt in ms, duration, whether it carries an error.
pub(crate) type MadeEvent = (Vec<u8>, i64, Option<u64>, bool);

/// A record to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sealed {
    pub(crate) project: u64,
    pub(crate) identity: Option<(u8, u64)>,
    /// Part and parts.
    pub(crate) parts: (u32, u32),
    pub(crate) events: Vec<MadeEvent>,
    /// Events announced beyond those that are there.
    pub(crate) announced: i64,
    /// Of the ingest machine's clock.
    pub(crate) skew_ms: i64,
    /// Which damage, and where: 0 a flipped bit, 1 a lost end, 2 a field that nobody knows, under a right checksum.
    pub(crate) damage: Option<(u8, prop::sample::Index)>,
}

impl Sealed {
    pub(crate) fn bytes(&self, appended_ms: i64) -> Vec<u8> {
        let header = Header {
            format: FORMAT,
            project_id: self.project,
            key_id: 5,
            producer_id: self.identity.map_or_else(Vec::new, |(producer, _)| vec![producer; 16]),
            seq: self.identity.map(|(_, seq)| seq),
            received_ms: appended_ms + self.skew_ms,
            event_count: (self.events.len() as i64 + self.announced).max(0) as u32,
            part: self.parts.0,
            parts: self.parts.1,
        };
        let mut body = header.encode_to_vec();
        for (series, ended_delta_ms, duration_us, failed) in &self.events {
            let error = if *failed { "timeout".to_owned() } else { String::new() };
            let (series, ended_delta_ms, duration_us) = (series.clone(), *ended_delta_ms, *duration_us);
            let [host, version] = facets_of(ended_delta_ms);
            let event = Event { series, ended_delta_ms, duration_us, error, host, version, ..Event::default() };
            prost::encoding::bytes::encode(EVENTS_FIELD, &event.encode_to_vec(), &mut body);
        }
        let mut record = sealed(&body);
        match self.damage {
            Some((0, at)) => {
                let at = at.index(record.len());
                record[at] ^= 0x10;
            }
            Some((1, at)) => record.truncate(at.index(record.len())),
            Some((_, _)) => {
                body.extend([15 << 3, 1]);
                record = sealed(&body);
            }
            None => {}
        }
        record
    }
}

/// More than there is room for, and all that is special.
fn facets_of(ended_delta_ms: i64) -> [String; 2] {
    let hosts = ["", "a", "b", "c", "(other)", "\0", "d"];
    let versions = ["v1", "v2", "", "v3", "a"];
    let one_of = |all: &[&str], number: i64| all[number.rem_euclid(all.len() as i64) as usize].to_owned();
    [one_of(&hosts, ended_delta_ms), one_of(&versions, ended_delta_ms / 7)]
}

/// Puts the checksum in front.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    let mut record = vec![CRC_KEY];
    record.extend(crc32fast::hash(body).to_le_bytes());
    record.extend(body);
    record
}

pub(crate) fn series(route: &str, status: u32) -> Vec<u8> {
    let fields = SeriesFields { service: "shop".into(), env: "e".into(), route: route.into(), method: 2, status };
    fields.encode_to_vec()
}

/// Mostly good ones.
pub(crate) fn event() -> impl Strategy<Value = MadeEvent> {
    let good = (0..9_u8, prop_oneof![Just(0), Just(200), Just(299), Just(404), Just(503), Just(50)])
        .prop_map(|(route, status)| series(&format!("/{route}"), status));
    let services = (0..9_u8).prop_map(|service| {
        let service = format!("s{service}");
        SeriesFields { service, env: "e".into(), route: "/".into(), status: 200, ..SeriesFields::default() }
            .encode_to_vec()
    });
    let other = Just(series("(other)", 200));
    let bad = prop_oneof![
        Just(series("/\0", 200)),
        Just(series("/", 40_000)),
        Just(series("/", 70_000)),
        Just(SeriesFields { route: "/".into(), ..SeriesFields::default() }.encode_to_vec()),
        Just(
            SeriesFields {
                service: "s".into(),
                env: "e".into(),
                route: "/".into(),
                method: 12,
                ..SeriesFields::default()
            }
            .encode_to_vec()
        ),
        Just([series("/", 0), vec![5 << 3, 0]].concat()),
        Just(series(&"r".repeat(2100), 200)),
    ];
    let series = prop_oneof![30 => good, 6 => services, 2 => other, 1 => bad];
    let ended_ms = prop_oneof![
        8 => -40_000..1_i64,
        2 => -8_000_000..0_i64,
        1 => -7_206_000..-7_194_000_i64,
        1 => 54_000..66_000_i64,
        1 => any::<i64>()
    ];
    let duration_us = prop_oneof![
        1 => Just(None),
        8 => (0..30_u32).prop_map(|bit| Some(1 << bit)),
        1 => (3_599_999_999..3_600_000_002_u64).prop_map(Some)
    ];
    (series, ended_ms, duration_us, prop::bool::weighted(0.1))
}

#[test]
fn bytes_that_changed_on_their_way_are_unreadable() {
    let good = Sealed { events: vec![(series("/a", 200), 0, None, false)], ..Sealed::default() }.bytes(0);
    assert!(matches!(open(&good), Opened::Batches(batches) if batches[0].events.len() == 1));
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(matches!(open(&changed), Opened::Unreadable(_)), "byte {at}");
        assert!(matches!(open(&good[..at]), Opened::Unreadable(_)), "cut at {at}");
    }
}

#[test]
fn a_series_reads_back_as_it_was_written() {
    let bytes = series("/a/{id}", 204);
    let series = Series::read(&bytes).unwrap();
    assert_eq!((series.route.as_str(), series.method.as_str(), series.status), ("/a/{id}", "GET", 204));
    assert_eq!(series.to_bytes(), bytes);
}

proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(bytes: Vec<u8>) {
        open(&bytes);
        open(&sealed(&bytes));
        Event::read(&bytes);
        Series::read(&bytes);
    }
}
