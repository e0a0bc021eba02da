use super::answer::judge;
use super::*;
use crate::args::Compress;
use crate::batch::Batch;
use crate::fake_ingest::{FakeIngest, accepted};
use crate::parcel::Identity;

fn target(url: &str) -> Target {
    Target {
        url: url.to_owned(),
        loopback: true,
        key: "peep_ing_test".to_owned(),
        in_flight: 2,
        compress: Compress::Gzip,
        buffer_bytes: 1 << 20,
        give_up_after: Some(Duration::from_millis(600)),
        authorities: None,
    }
}

fn batch(seq: u64, events: u32) -> Parcel {
    let body = (0..events).map(|index| format!("{{\"service\":\"s\",\"n\":{index}}}\n")).collect::<String>();
    let identity = Identity { producer: PRODUCER, seq };
    Parcel::pack(Batch { identity, events, body: body.into_bytes(), positions: Vec::new() }, Compress::Gzip)
}

const PRODUCER: Uuid = Uuid::from_u128(0x0192_f0c1_7a5e_7c3a_9d9e_1f2a_3b4c_5d6e);

fn senders(url: &str, progress: &Arc<Progress>, interrupt: &Interrupt) -> Senders {
    Senders::start(&target(url), None, None, progress, interrupt).unwrap()
}

fn deliver(url: &str, batches: Vec<Parcel>) -> Delivery {
    let senders = senders(url, &Arc::new(Progress::captured()), &Interrupt::default());
    for batch in batches {
        senders.send(batch);
    }
    senders.finish()
}

#[test]
fn every_batch_arrives_once_with_the_identity_of_the_run() {
    let ingest = FakeIngest::accepting();
    let delivery = deliver(&ingest.url, (0..20).map(|seq| batch(seq, 10)).collect());
    assert_eq!((delivery.accepted, delivery.batches), (200, 20));
    let received = ingest.received();
    let mut seqs: Vec<u64> = received.iter().map(crate::fake_ingest::Received::seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (0..20).collect::<Vec<_>>());
    let producer = &received[0].headers["peep-producer"];
    assert_eq!(Uuid::parse_str(producer).unwrap(), PRODUCER);
    assert!(received.iter().all(|request| request.headers["peep-producer"] == *producer));
    assert!(received.iter().all(|request| request.headers["authorization"] == "Bearer peep_ing_test"));
}

#[test]
fn the_second_batch_of_a_producer_waits_for_the_answer_to_its_first() {
    let ingest = FakeIngest::start(|request, _| {
        if request.seq() == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        accepted(request)
    });
    let progress = Arc::new(Progress::captured());
    let senders = senders(&ingest.url, &progress, &Interrupt::default());
    for seq in 0..4 {
        senders.send(batch(seq, 1));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(ingest.received().len() <= 1, "ingest is still busy with the first");
    assert_eq!(senders.finish().accepted, 4);
    assert_eq!(ingest.received()[0].seq(), 0);
}

#[test]
fn large_batches_are_compressed_and_small_ones_are_not() {
    let ingest = FakeIngest::accepting();
    deliver(&ingest.url, vec![batch(0, 1), batch(1, 1000)]);
    for request in ingest.received() {
        assert_eq!(request.headers.contains_key("content-encoding"), request.seq() == 1);
        assert_eq!(request.events().len(), if request.seq() == 1 { 1000 } else { 1 });
    }
}

#[test]
fn a_retry_sends_the_same_bytes_under_the_same_number() {
    let ingest = FakeIngest::start(|request, before| match before {
        0 => (503, "retry-after: 0\r\n", r#"{"error":{"code":"overloaded","message":"x"}}"#.to_owned()),
        1 => (429, "", String::new()),
        _ => accepted(request),
    });
    let delivery = deliver(&ingest.url, vec![batch(7, 500)]);
    assert_eq!((delivery.accepted, delivery.retries, delivery.undelivered), (500, 2, 0));
    let received = ingest.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|request| request.seq() == 7 && request.body == received[0].body));
}

#[test]
fn a_final_error_stops_the_run_and_counts_what_was_not_sent() {
    let ingest =
        FakeIngest::start(|_, _| (401, "", r#"{"error":{"code":"unauthorized","message":"unknown key"}}"#.to_owned()));
    let delivery = deliver(&ingest.url, (0..9).map(|seq| batch(seq, 10)).collect());
    assert_eq!((delivery.accepted, delivery.undelivered), (0, 90));
    let error = delivery.final_error.unwrap();
    assert!(error.contains("unknown key") && error.contains("PEEP_INGEST_KEY"), "{error}");
    assert!(ingest.received().len() <= 2, "one attempt per sending thread at most");
}

#[test]
fn an_ingest_that_is_not_there_is_given_up_with_its_address() {
    // Bound and dropped: nobody listens there now.
    let url = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let delivery = deliver(&url, vec![batch(0, 10)]);
    assert_eq!((delivery.undelivered, delivery.accepted), (10, 0));
    let error = delivery.final_error.unwrap();
    assert!(error.contains("gave up") && error.contains(&url), "{error}");
}

#[test]
fn partial_rejections_are_counted_by_code_with_the_event() {
    let ingest = FakeIngest::start(|_, _| {
        (202, "", r#"{"accepted":8,"rejected":[{"index":1,"code":"invalid_ts","message":"too old"},{"index":4,"code":"invalid_ts","message":"y"}],"receipt":"r"}"#.to_owned())
    });
    let delivery = deliver(&ingest.url, vec![batch(0, 10)]);
    assert_eq!(delivery.accepted, 8);
    assert_eq!(delivery.rejected["invalid_ts"].count, 2);
    assert!(delivery.rejected["invalid_ts"].example.contains("\"n\":1"), "{delivery:?}");
}

#[test]
fn a_batch_that_is_refused_as_a_whole_is_set_aside_and_the_run_goes_on() {
    let ingest = FakeIngest::start(|request, _| match request.seq() {
        1 => (413, "", r#"{"error":{"code":"payload_too_large","message":"m"}}"#.to_owned()),
        _ => accepted(request),
    });
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Mutex::new(Journal::open(folder.path()).unwrap()));
    let progress = Arc::new(Progress::captured());
    let senders = Senders::start(&target(&ingest.url), Some(journal), None, &progress, &Interrupt::default()).unwrap();
    for seq in 0..3 {
        senders.send(batch(seq, 10));
    }
    let delivery = senders.finish();
    assert_eq!((delivery.accepted, delivery.rejected["batch_refused"].count), (20, 10));
    let kept = folder.path().join(format!("refused/{PRODUCER}-1.ndjson"));
    assert_eq!(std::fs::read(kept).unwrap(), batch(1, 10).unpacked());
}

fn is_final(status: u16, body: &str, remedy: &str) -> bool {
    matches!(judge(status, None, body, 10), Answer::Final { reason, .. } if reason.contains(remedy))
}

#[test]
fn each_final_status_names_its_remedy() {
    for (status, remedy) in [
        (400, "for good"),
        (401, "PEEP_INGEST_KEY"),
        (403, "scope ingest"),
        (404, "--url"),
        (405, "--url"),
        (413, "--batch-bytes"),
        (415, "--compress none"),
        (308, "final address"),
        (431, "for good"),
    ] {
        assert!(is_final(status, "", remedy), "{status}");
    }
}

#[test]
fn a_batch_without_one_valid_event_is_rejected_not_final() {
    let list = r#""rejected":[{"index":0,"code":"invalid_status","message":"m"}]"#;
    for body in [
        format!(r#"{{"error":{{"code":"no_valid_event","message":"m"}},{list}}}"#),
        format!(r#"{{"error":{{"code":"no_valid_event",{list}}}}}"#),
    ] {
        let Answer::Counted { accepted: 0, rejected } = judge(422, None, &body, 1) else { panic!("{body}") };
        assert_eq!(rejected[0].code, "invalid_status");
    }
}

#[test]
fn an_answer_that_does_not_account_for_every_event_is_no_answer_of_ingest() {
    assert!(is_final(202, r#"{"accepted":9,"rejected":[]}"#, "9 of the 10"));
    assert!(is_final(200, "<html>hello</html>", "--url"));
}

#[test]
fn retry_after_is_read_in_seconds() {
    for status in [408, 429, 500, 502, 503, 504] {
        let Answer::Retry { after, .. } = judge(status, Some("3"), "", 1) else { panic!("{status}") };
        assert_eq!(after, Some(Duration::from_secs(3)));
    }
}
