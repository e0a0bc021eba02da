//! The client against an ingest that misbehaves as told.

mod scripted;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use peep_sdk::{Client, Config, Event};
use scripted::{Answer, Ingest, quick, until};

fn said_to(said: &Arc<Mutex<Vec<String>>>) -> Arc<dyn Fn(&str) + Send + Sync> {
    let said = Arc::clone(said);
    Arc::new(move |line| said.lock().expect("lines").push(line.to_owned()))
}

#[test]
fn events_arrive_in_batches_with_an_identity() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(Config { env: "prod".to_owned(), version: "1".to_owned(), ..quick(&ingest.url) });
    for _ in 0..250 {
        client.record(&Event::new("/a/{id}").duration(Duration::from_millis(3)));
    }
    assert!(client.flush(Duration::from_secs(60)));
    client.record(&Event::new("/b"));
    until(&client, |stats| stats.accepted == 251);
    let requests = ingest.requests();
    assert!(requests.iter().enumerate().all(|(index, request)| request.seq == index as u64));
    assert!(requests.iter().all(|request| request.producer == requests[0].producer && request.producer.len() == 36));
    let event = &ingest.events()[0];
    assert_eq!((&event["service"], &event["env"], &event["source"]), (&"shop".into(), &"prod".into(), &"sdk".into()));
    assert_eq!((&event["route"], &event["duration_ms"]), (&"/a/{id}".into(), &3.into()));
}

#[test]
fn what_goes_to_another_machine_is_compressed() {
    let ingest = Ingest::start(|_| Answer::Accept);
    // This machine too, by a name that does not say so.
    let client = Client::new(quick(&ingest.url.replace("127.0.0.1", "0.0.0.0")));
    for _ in 0..100 {
        client.record(&Event::new("/a"));
    }
    assert!(client.flush(Duration::from_secs(60)));
    let request = &ingest.requests()[0];
    assert!(request.is_gzip);
    assert!(request.body.len() * 5 < request.events.len() * 40, "{}", request.body.len());
}

#[test]
fn a_retry_is_the_same_bytes_under_the_same_identity() {
    let ingest = Ingest::start(|number| match number {
        1 => Answer::Say(503, "", String::new()),
        2 => Answer::HangUp,
        3 => Answer::Say(429, "", String::new()),
        4 => Answer::Silence(Duration::from_millis(400)),
        _ => Answer::Accept,
    });
    let client = Client::new(Config { attempt_timeout: Duration::from_millis(200), ..quick(&ingest.url) });
    for _ in 0..100 {
        client.record(&Event::new("/a"));
    }
    until(&client, |stats| stats.requests >= 2);
    client.record(&Event::new("/b"));
    let stats = until(&client, |stats| stats.accepted == 101);
    let requests = ingest.requests();
    for again in &requests[1..5] {
        assert_eq!(again, &requests[0]);
    }
    let later = &requests[5..];
    assert_eq!(later.iter().map(|request| request.events.len()).sum::<usize>() + requests[0].events.len(), 101);
    assert_eq!(stats.retried, 4);
}

#[test]
fn retry_after_is_waited_for() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let ingest = Ingest::start(move |number| {
        seen.lock().expect("times").push(Instant::now());
        if number == 1 { Answer::Say(503, "retry-after: 1\r\n", String::new()) } else { Answer::Accept }
    });
    let client = Client::new(quick(&ingest.url));
    client.record(&Event::new("/a"));
    until(&client, |stats| stats.requests == 1);
    // Not even somebody in a hurry comes back earlier.
    assert!(client.flush(Duration::from_secs(60)));
    let times = times.lock().expect("times");
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{:?}", times[1] - times[0]);
}

#[test]
fn a_final_answer_drops_the_batch_counts_it_and_says_why() {
    for status in [301, 400, 401, 403, 404, 405, 413, 415, 431] {
        let said = Arc::default();
        let ingest = Ingest::start(move |number| match number {
            1 => Answer::Say(status, "", String::new()),
            _ => Answer::Accept,
        });
        let client = Client::new(Config { log: said_to(&said), ..quick(&ingest.url) });
        client.record(&Event::new("/a"));
        until(&client, |stats| stats.dropped_refused == 1);
        client.record(&Event::new("/b"));
        until(&client, |stats| stats.accepted == 1);
        assert_eq!(ingest.requests().len(), 2, "{status} is not tried again");
        let said = said.lock().expect("lines");
        assert!(said.iter().any(|line: &String| line.contains(&status.to_string())), "{said:?}");
    }
}

#[test]
fn an_outage_keeps_what_fits_drops_the_newest_and_counts_both() {
    let is_up = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_up);
    let ingest =
        Ingest::start(
            move |_| {
                if asked.load(Ordering::Relaxed) { Answer::Accept } else { Answer::Say(503, "", String::new()) }
            },
        );
    let client = Client::new(Config { batch_bytes: 16 << 10, buffer_bytes: 64 << 10, ..quick(&ingest.url) });
    let most = 30_000;
    for index in 0..most {
        client.record(&Event::new("/a").attrs(&[("index", index.into())]));
        assert!(client.stats().held_bytes <= 64 << 10, "{:?}", client.stats());
        if index % 500 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let during = until(&client, |_| true);
    assert!(during.dropped_full > 0 && during.held > 0 && during.accepted == 0, "{during:?}");
    is_up.store(true, Ordering::Relaxed);
    let after = until(&client, |stats| stats.held == 0);
    assert_eq!(after.accepted + after.dropped_full, most as u64);
    let mut arrived: Vec<i64> = Vec::new();
    for request in ingest.requests().into_iter().rev().take(after.requests as usize) {
        arrived.extend(request.events.iter().filter_map(|event| event["attrs"]["index"].as_i64()));
    }
    assert_eq!(arrived.iter().min(), Some(&0), "the oldest was kept");
}

#[test]
fn a_batch_that_fails_for_too_long_is_dropped_and_counted() {
    let ingest = Ingest::start(|_| Answer::Say(503, "", String::new()));
    let client = Client::new(Config { give_up_after: Duration::from_millis(50), ..quick(&ingest.url) });
    client.record(&Event::new("/a"));
    let stats = until(&client, |stats| stats.dropped_expired == 1);
    assert!(stats.requests >= 1);
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let ingest = Ingest::start(|_| Answer::Say(200, "", "x".repeat(64 << 20)));
    let client = Client::new(quick(&ingest.url));
    client.record(&Event::new("/a"));
    until(&client, |stats| stats.dropped_refused == 1);
}

#[test]
fn a_shutdown_sends_what_there_is_and_what_cannot_be_sent_is_counted() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let slow = |url: &str| Config { flush_interval: Duration::from_secs(60), ..quick(url) };
    let client = Client::new(slow(&ingest.url));
    for _ in 0..10 {
        client.record(&Event::new("/a"));
    }
    assert_eq!(client.shutdown(Duration::from_secs(60)).accepted, 10);
    client.record(&Event::new("/late"));
    assert_eq!(client.stats().dropped_shutdown, 1);

    let dead = Client::new(slow("http://127.0.0.1:9"));
    for _ in 0..10 {
        dead.record(&Event::new("/a"));
    }
    dead.shutdown(Duration::from_millis(200));
    assert_eq!(until(&dead, |stats| stats.held == 0).dropped_shutdown, 10);
}

#[test]
fn the_longest_of_all_times_is_no_time_that_anything_ends_at() {
    let ingest = Ingest::start(|number| if number == 1 { Answer::Say(503, "", String::new()) } else { Answer::Accept });
    let client = Client::new(Config {
        flush_interval: Duration::MAX,
        attempt_timeout: Duration::MAX,
        give_up_after: Duration::MAX,
        producer_age_max: Duration::MAX,
        backoff_max: Duration::MAX,
        ..quick(&ingest.url)
    });
    client.record(&Event::new("/a"));
    assert!(client.flush(Duration::MAX));
    client.record(&Event::new("/b"));
    assert_eq!(client.shutdown(Duration::MAX).accepted, 2);
}

#[test]
fn the_last_handle_that_goes_lets_the_rest_be_sent() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(Config { flush_interval: Duration::from_secs(60), ..quick(&ingest.url) });
    client.clone().record(&Event::new("/a"));
    drop(client);
    let end = Instant::now() + Duration::from_secs(60);
    while ingest.events().is_empty() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_not_configured_is_said_once_and_nothing_is_sent() {
    for (url, key) in [
        ("", ""),
        ("http://127.0.0.1:1", ""),
        ("", "k"),
        ("ftp://a", "k"),
        ("nonsense", "k"),
        ("http://a", "two words"),
    ] {
        let said = Arc::default();
        let config = Config { url: url.to_owned(), key: key.to_owned(), log: said_to(&said), ..quick("") };
        let client = Client::new(config);
        client.record(&Event::new("/a"));
        assert!(client.flush(Duration::ZERO));
        assert_eq!((client.is_enabled(), client.stats().recorded), (false, 0));
        let said = said.lock().expect("lines");
        assert!(said.len() == 1 && said[0].contains("PEEP_INGEST_"), "{url} {key}: {said:?}");
    }
}

#[test]
fn threads_that_record_at_once_lose_nothing() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(Config { buffer_bytes: 64 << 20, ..quick(&ingest.url) });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for index in 0..2000 {
                    client.record(&Event::new("/a").attrs(&[("n", (thread * 2000 + index).into())]));
                }
            });
        }
    });
    assert!(client.flush(Duration::from_secs(120)));
    let mut numbers: Vec<i64> = ingest.events().iter().filter_map(|event| event["attrs"]["n"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..16_000).collect::<Vec<_>>());
}

#[test]
fn of_a_share_of_the_events_the_detail_is_kept_and_of_errors_always() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(Config { detail: 0.25, buffer_bytes: 16 << 20, ..quick(&ingest.url) });
    for index in 0..4000 {
        let status = Some(if index < 100 { 500 } else { 200 });
        client.record(&Event { status, bytes_out: Some(7), ..Event::new("/a") });
    }
    assert!(client.flush(Duration::from_secs(120)));
    let events = ingest.events();
    let detailed =
        |status: u16| events.iter().filter(|event| event["status"] == status && event["bytes_out"] == 7).count();
    assert_eq!((events.len(), detailed(500)), (4000, 100));
    // A quarter of 3900, give or take four standard deviations.
    assert!((867..1083).contains(&detailed(200)), "{}", detailed(200));
}

#[test]
fn a_batch_goes_when_it_is_full_or_when_its_time_is_over() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let patient = Config { batch_bytes: 16 << 10, flush_interval: Duration::from_secs(60), ..quick(&ingest.url) };
    let client = Client::new(patient);
    for _ in 0..500 {
        client.record(&Event::new("/a/{id}"));
    }
    // Nobody flushes: what fills a batch goes, the rest waits.
    let stats = until(&client, |stats| stats.accepted > 0);
    assert!(stats.accepted < 500 && stats.held > 0, "{stats:?}");
    assert!(ingest.requests().iter().all(|request| request.is_gzip || request.body.len() <= 16 << 10));

    let hasty = Client::new(Config { flush_interval: Duration::from_millis(20), ..quick(&ingest.url) });
    hasty.record(&Event::new("/b"));
    until(&hasty, |stats| stats.accepted == 1);
}

#[test]
fn recording_does_not_wait_for_an_ingest_that_does_not_answer() {
    let ingest = Ingest::start(|_| Answer::Silence(Duration::from_secs(600)));
    let client = Client::new(Config { attempt_timeout: Duration::from_secs(600), ..quick(&ingest.url) });
    client.record(&Event::new("/a"));
    until(&client, |stats| stats.requests == 1);
    // Far more than there is room for, while the first request hangs: recorded before it has an answer, or dropped.
    for _ in 0..20_000 {
        client.record(&Event::new("/a"));
    }
    let stats = client.stats();
    assert_eq!((stats.recorded, stats.requests, stats.accepted), (20_001, 1, 0));
    assert!(stats.dropped_full > 0 && stats.held_bytes <= 1 << 20, "{stats:?}");
    assert_eq!(stats.held + stats.dropped(), 20_001);
}

#[test]
fn a_log_that_panics_stops_nothing() {
    let ingest = Ingest::start(|number| match number {
        1 | 2 => Answer::Say(503, "", String::new()),
        _ => Answer::Accept,
    });
    let client = Client::new(Config { log: Arc::new(|_| panic!("no log today")), ..quick(&ingest.url) });
    client.record(&Event::new("/a"));
    until(&client, |stats| stats.accepted == 1);
}
