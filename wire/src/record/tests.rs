use bytes::Bytes;

use super::*;
use crate::event::{AttrValue, EncodedAttrs, Event};
use crate::method::Method;
use proptest::prelude::*;
use prost::Message;

/// `record.proto` as a protobuf library sees it.
mod generated {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Batch {
        #[prost(fixed32, tag = "1")]
        pub(super) crc32: u32,
        #[prost(uint32, tag = "2")]
        pub(super) format: u32,
        #[prost(uint64, tag = "3")]
        pub(super) project_id: u64,
        #[prost(uint64, tag = "4")]
        pub(super) key_id: u64,
        #[prost(bytes = "vec", tag = "5")]
        pub(super) producer_id: Vec<u8>,
        #[prost(uint64, optional, tag = "6")]
        pub(super) seq: Option<u64>,
        #[prost(sfixed64, tag = "7")]
        pub(super) received_ms: i64,
        #[prost(uint32, tag = "8")]
        pub(super) event_count: u32,
        #[prost(uint32, tag = "9")]
        pub(super) part: u32,
        #[prost(uint32, tag = "10")]
        pub(super) parts: u32,
        #[prost(message, repeated, tag = "11")]
        pub(super) events: Vec<Event>,
        #[prost(message, repeated, tag = "15")]
        pub(super) batches: Vec<Batch>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(message, optional, tag = "1")]
        pub(super) series: Option<Series>,
        #[prost(sint64, tag = "2")]
        pub(super) ended_delta_ms: i64,
        #[prost(uint64, optional, tag = "3")]
        pub(super) duration_us: Option<u64>,
        #[prost(string, tag = "4")]
        pub(super) error: String,
        #[prost(string, tag = "5")]
        pub(super) host: String,
        #[prost(string, tag = "6")]
        pub(super) version: String,
        #[prost(string, tag = "7")]
        pub(super) source: String,
        #[prost(uint64, optional, tag = "8")]
        pub(super) bytes_in: Option<u64>,
        #[prost(uint64, optional, tag = "9")]
        pub(super) bytes_out: Option<u64>,
        #[prost(bytes = "vec", tag = "10")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "11")]
        pub(super) span_id: Vec<u8>,
        #[prost(message, repeated, tag = "12")]
        pub(super) attrs: Vec<Attribute>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Series {
        #[prost(string, tag = "1")]
        pub(super) service: String,
        #[prost(string, tag = "2")]
        pub(super) env: String,
        #[prost(string, tag = "3")]
        pub(super) route: String,
        #[prost(uint32, tag = "4")]
        pub(super) method: u32,
        #[prost(uint32, tag = "5")]
        pub(super) status: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attribute {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(oneof = "Value", tags = "2, 3, 4")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "2")]
        Text(String),
        #[prost(double, tag = "3")]
        Number(f64),
        #[prost(bool, tag = "4")]
        Flag(bool),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/{}.-]{1,20}", "\\PC{1,80}", "[a-z]{120,300}"]
}

fn series() -> impl Strategy<Value = generated::Series> {
    (text(), text(), text(), 0u32..12, prop_oneof![Just(0), 100u32..600])
        .prop_map(|(service, env, route, method, status)| generated::Series { service, env, route, method, status })
}

fn attribute() -> impl Strategy<Value = generated::Attribute> {
    let value = prop_oneof![
        text().prop_map(generated::Value::Text),
        (-1e9f64..1e9).prop_map(generated::Value::Number),
        any::<bool>().prop_map(generated::Value::Flag),
    ];
    (text(), value).prop_map(|(key, value)| generated::Attribute { key, value: Some(value) })
}

fn event() -> impl Strategy<Value = generated::Event> {
    let optional_text = || prop_oneof![Just(String::new()), text()];
    let id = |len| prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), len)];
    let words = (optional_text(), optional_text(), optional_text(), optional_text());
    let numbers = (-1i64 << 40..1 << 40, any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>());
    (series(), numbers, words, id(16..=16), id(8..=8), prop::collection::vec(attribute(), 0..4)).prop_map(
        |(
            series,
            (ended_delta_ms, duration_us, bytes_in, bytes_out),
            (error, host, version, source),
            trace_id,
            span_id,
            attrs,
        )| {
            let series = Some(series);
            generated::Event {
                series,
                ended_delta_ms,
                duration_us,
                error,
                host,
                version,
                source,
                bytes_in,
                bytes_out,
                trace_id,
                span_id,
                attrs,
            }
        },
    )
}

fn batch() -> impl Strategy<Value = generated::Batch> {
    let identity = prop::option::of((prop::collection::vec(any::<u8>(), 16..=16), any::<u64>()));
    (any::<u64>(), any::<u64>(), identity, 1i64..1 << 42, prop::collection::vec(event(), 0..6)).prop_map(
        |(project_id, key_id, identity, received_ms, events)| {
            let (producer_id, seq) = identity.map_or((Vec::new(), None), |(producer, seq)| (producer, Some(seq)));
            let event_count = events.len() as u32;
            generated::Batch {
                crc32: 0,
                format: 1,
                project_id,
                key_id,
                producer_id,
                seq,
                received_ms,
                event_count,
                part: 0,
                parts: 0,
                batches: Vec::new(),
                events,
            }
        },
    )
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn only(mut records: Vec<Bytes>) -> Bytes {
    assert_eq!(records.len(), 1, "fits one record");
    records.remove(0)
}

/// The same batch through the hand-written encoder.
fn written(batch: &generated::Batch) -> Bytes {
    let mut builder = RecordBuilder::default();
    builder.start(batch.received_ms);
    for event in &batch.events {
        let series = event.series.as_ref().unwrap();
        let mut attrs = EncodedAttrs::default();
        for attr in &event.attrs {
            let value = match attr.value.as_ref().unwrap() {
                generated::Value::Text(text) => AttrValue::Text(text),
                generated::Value::Number(number) => AttrValue::Number(*number),
                generated::Value::Flag(flag) => AttrValue::Flag(*flag),
            };
            attrs.push(&attr.key, value);
        }
        builder.push(&Event {
            service: &series.service,
            env: &series.env,
            route: &series.route,
            method: Method::from_number(u64::from(series.method)).unwrap(),
            status: series.status as u16,
            ended_ms: batch.received_ms + event.ended_delta_ms,
            duration_us: event.duration_us,
            error: none_if_empty(&event.error),
            host: none_if_empty(&event.host),
            version: none_if_empty(&event.version),
            source: none_if_empty(&event.source),
            bytes_in: event.bytes_in,
            bytes_out: event.bytes_out,
            trace_id: event.trace_id.as_slice().try_into().ok(),
            span_id: event.span_id.as_slice().try_into().ok(),
            attrs: &attrs,
        });
    }
    let identity = batch.seq.map(|seq| Identity { producer: batch.producer_id.as_slice().try_into().unwrap(), seq });
    only(builder.finish(ProjectId(batch.project_id), KeyId(batch.key_id), identity))
}

/// A bundle, and the index of the first event of each batch.
fn bundled(batches: &[generated::Batch]) -> (Bytes, Vec<u32>) {
    let mut bundle = Bundle::default();
    let firsts = batches.iter().map(|batch| bundle.push(written(batch), batch.events.len() as u32)).collect();
    (bundle.finish(), firsts)
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_a_protobuf_library(mut batch in batch()) {
        let bytes = written(&batch);
        batch.crc32 = crc32fast::hash(&bytes[5..]);
        // A CRC of zero would be left out by the library; one in four thousand million.
        prop_assume!(batch.crc32 != 0);
        let library = batch.encode_to_vec();
        prop_assert_eq!(bytes.as_ref(), library.as_slice());
        prop_assert_eq!(generated::Batch::decode(bytes.as_ref()).unwrap(), batch);
    }

    #[test]
    fn what_is_written_reads_back(batch in batch()) {
        let bytes = written(&batch);
        let opened = parse(&bytes).unwrap();
        prop_assert_eq!(opened.header.event_count as usize, batch.events.len());
        prop_assert_eq!(opened.header.identity.map(|identity| identity.seq), batch.seq);
        let rows: Vec<EventRow<'_>> = opened.events().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(rows.len(), batch.events.len());
        for (row, event) in rows.iter().zip(&batch.events) {
            let series = event.series.as_ref().unwrap();
            let read = row.series.decode().unwrap();
            prop_assert_eq!((read.service, read.env, read.route), (series.service.as_str(), series.env.as_str(), series.route.as_str()));
            prop_assert_eq!(u32::from(read.status), series.status);
            prop_assert_eq!(read.to_key_bytes(), row.series.as_bytes());
            prop_assert_eq!(row.ended_ms, batch.received_ms + event.ended_delta_ms);
            prop_assert_eq!((row.duration_us, row.bytes_in, row.bytes_out), (event.duration_us, event.bytes_in, event.bytes_out));
            prop_assert_eq!(row.error.unwrap_or_default(), &event.error);
            prop_assert_eq!(row.attrs.iter().count(), event.attrs.len());
            prop_assert_eq!(row.is_error().unwrap(), series.status >= 500 || !event.error.is_empty());
        }
    }

    #[test]
    fn events_taken_over_from_another_record_are_the_same_bytes(batch in batch()) {
        let original = written(&batch);
        let opened = parse(&original).unwrap();
        let mut builder = RecordBuilder::new(usize::MAX);
        builder.start(opened.header.received_ms);
        opened.events().for_each(|row| builder.push_row(&row.unwrap()).unwrap());
        prop_assert_eq!(builder.event_count(), opened.header.event_count);
        let copy = only(builder.finish(opened.header.project, opened.header.key, opened.header.identity));
        let again = parse(&copy).unwrap();
        let raw = |batch: &Batch<'_>| batch.events().map(|row| row.unwrap().raw.to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(raw(&again), raw(&opened));
        prop_assert_eq!((again.header.event_count, again.header.received_ms), (opened.header.event_count, opened.header.received_ms));
    }

    #[test]
    fn a_bundle_is_what_a_protobuf_library_writes_and_its_batches_read_back(batches in prop::collection::vec(batch(), 2..5)) {
        let records: Vec<Vec<u8>> = batches.iter().map(written).map(|bytes| bytes.to_vec()).collect();
        let (bytes, firsts) = bundled(&batches);
        let mut library = generated::Batch { format: 2, ..generated::Batch::default() };
        library.event_count = batches.iter().map(|batch| batch.events.len() as u32).sum();
        library.batches = records.iter().map(|record| generated::Batch::decode(record.as_slice()).unwrap()).collect();
        library.crc32 = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
        prop_assume!(library.crc32 != 0 && library.batches.iter().all(|batch| batch.crc32 != 0));
        prop_assert_eq!(library.encode_to_vec(), bytes.to_vec());

        let opened = open(&bytes).unwrap();
        prop_assert_eq!(opened.event_count(), library.event_count);
        let again: Vec<Batch<'_>> = opened.batches().collect();
        prop_assert_eq!(again.iter().map(|batch| batch.bytes.to_vec()).collect::<Vec<_>>(), records);
        prop_assert_eq!(again.iter().map(|batch| batch.first_event).collect::<Vec<_>>(), firsts);
        let indices: Vec<u32> = again.iter().flat_map(|batch| batch.first_event..=batch.first_event + batch.header.event_count).collect();
        prop_assert!(indices.is_sorted_by(|one, next| one < next), "no index belongs to two batches");
        prop_assert!(parse(&bytes).is_err(), "a bundle is no single batch");
    }

    #[test]
    fn a_record_of_one_batch_opens_as_itself(batch in batch()) {
        let bytes = written(&batch);
        let mut bundle = Bundle::default();
        prop_assert_eq!(bundle.push(bytes.clone(), batch.events.len() as u32), 0);
        prop_assert_eq!(&bundle.finish(), &bytes, "one batch needs no bundle");
        let opened: Vec<_> = open(&bytes).unwrap().batches().map(|batch| (batch.first_event, batch.header, batch.bytes.to_vec())).collect();
        prop_assert_eq!(opened, vec![(0, parse(&bytes).unwrap().header, bytes.to_vec())]);
    }

    #[test]
    fn a_bundle_opens_as_a_whole_or_not_at_all(batches in prop::collection::vec(batch(), 2..4), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = bundled(&batches).0.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(open(&bytes).is_err());
        // The same from a foreign writer, whose checksum is right: a batch in it has one too, so only the frame can differ.
        let crc = crc32fast::hash(&bytes[CRC_FIELD_BYTES..]).to_le_bytes();
        bytes[1..CRC_FIELD_BYTES].copy_from_slice(&crc);
        if let Ok(opened) = open(&bytes) {
            prop_assert_eq!(opened.batches().map(|batch| batch.header.event_count).sum::<u32>(), opened.event_count());
        }
    }

    #[test]
    fn arbitrary_bundles_never_panic(body: Vec<u8>) {
        let mut bytes = vec![tag::CRC, 0, 0, 0, 0, tag::FORMAT, 2];
        bytes.extend(body);
        let crc = crc32fast::hash(&bytes[CRC_FIELD_BYTES..]).to_le_bytes();
        bytes[1..CRC_FIELD_BYTES].copy_from_slice(&crc);
        if let Ok(opened) = open(&bytes) {
            prop_assert!(opened.batches().count() > 0 || opened.event_count() == 0);
        }
    }

    #[test]
    fn a_flipped_bit_is_found(batch in batch(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = written(&batch).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(parse(&bytes).is_err());
        bytes.truncate(at);
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_with_a_good_checksum_never_panic(body: Vec<u8>) {
        let mut bytes = vec![tag::CRC];
        let mut checked = vec![tag::FORMAT, 1];
        checked.extend(body);
        bytes.extend(crc32fast::hash(&checked).to_le_bytes());
        bytes.extend(checked);
        if let Ok(batch) = parse(&bytes) {
            for row in batch.events().flatten() {
                let _ = (row.is_error(), row.attrs.to_json());
            }
        }
    }

    #[test]
    fn a_head_is_refused_exactly_when_the_event_is(batch in batch(), damage in any::<(prop::sample::Index, u8)>()) {
        let record = written(&batch);
        let received_ms = batch.received_ms;
        for event in parse(&record).unwrap().events().flatten() {
            let mut raw = event.raw.to_vec();
            assert_same(&raw, received_ms);
            let at = damage.0.index(raw.len());
            raw[at] = damage.1;
            assert_same(&raw, received_ms);
            assert_same(&raw[..at], received_ms);
        }
    }

    #[test]
    fn a_head_of_arbitrary_bytes_is_that_of_the_event(raw: Vec<u8>, received_ms: i64) {
        assert_same(&raw, received_ms);
        assert_same(&[&[tag::SERIES, 1, 1], raw.as_slice()].concat(), received_ms);
    }
}

/// Both readings of an event say the same.
fn assert_same(raw: &[u8], received_ms: i64) {
    let row = EventRow::decode(raw, received_ms);
    let head = EventHead::decode(raw, received_ms);
    let of_row = row.map(|row| (row.series, row.ended_ms, row.duration_us, row.error.is_some(), row.raw));
    assert_eq!(head.map(|head| (head.series, head.ended_ms, head.duration_us, head.has_error, head.raw)), of_row);
    if let (Ok(head), Ok(row)) = (head, EventRow::decode(raw, received_ms)) {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned().into_bytes();
        assert_eq!((head.host.to_vec(), head.version.to_vec()), (text(row.host), text(row.version)));
    }
}

#[test]
fn a_newer_format_stops_the_reader() {
    let mut builder = RecordBuilder::default();
    builder.start(1);
    let mut bytes = only(builder.finish(ProjectId(1), KeyId(1), None)).to_vec();
    bytes[6] = 3;
    let crc = crc32fast::hash(&bytes[5..]);
    bytes[1..5].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(parse(&bytes).err(), Some(RecordError::Format(3)));
}

fn small_event(route: &str, ended_ms: i64) -> Event<'_> {
    Event {
        service: "a",
        env: "default",
        route,
        method: Method::ABSENT,
        status: 200,
        ended_ms,
        duration_us: Some(1),
        error: None,
        host: None,
        version: None,
        source: None,
        bytes_in: None,
        bytes_out: None,
        trace_id: None,
        span_id: None,
        attrs: EncodedAttrs::EMPTY,
    }
}

#[test]
fn a_retry_is_cut_like_the_first_try_whenever_it_comes() {
    let routes: Vec<String> = (0..500).map(|number| format!("/route/{number}")).collect();
    let cut_at = |received_ms: i64| -> Vec<u32> {
        let mut builder = RecordBuilder::new(4096);
        builder.start(received_ms);
        for route in &routes {
            builder.push(&small_event(route, 1_000));
        }
        let identity = Identity { producer: [1; 16], seq: 3 };
        let records = builder.finish(ProjectId(1), KeyId(2), Some(identity));
        records.iter().map(|record| parse(record).unwrap().header.event_count).collect()
    };
    let first_try = cut_at(1_000);
    assert!(first_try.len() > 2);
    // The times in the records, relative to their receipt, take more bytes.
    assert_eq!([cut_at(1_100), cut_at(60_000), cut_at(86_400_000)], [first_try.clone(), first_try.clone(), first_try]);
}

#[test]
fn a_large_request_is_cut_into_records_in_order() {
    let mut builder = RecordBuilder::new(4096);
    let routes: Vec<String> = (0..500).map(|number| format!("/route/{number}")).collect();
    builder.start(7);
    for route in &routes {
        builder.push(&small_event(route, 7));
    }
    assert_eq!((builder.event_count(), builder.routing_service()), (500, "a"));
    let records = builder.finish(ProjectId(1), KeyId(2), None);
    assert!(records.len() > 2 && records.iter().all(|record| record.len() <= 4096));
    let mut read = Vec::new();
    for (number, record) in records.iter().enumerate() {
        let batch = parse(record).unwrap();
        assert_eq!((batch.header.part as usize, batch.header.parts as usize), (number, records.len()));
        let rows: Vec<_> = batch.events().map(|row| row.unwrap().series.decode().unwrap().route.to_owned()).collect();
        assert_eq!(rows.len(), batch.header.event_count as usize);
        read.extend(rows);
    }
    assert_eq!(read, routes);
}
