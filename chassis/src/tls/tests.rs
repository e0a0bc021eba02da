use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

const NAMES: TlsNames = TlsNames { service: "test", certificate: "PEEP_TEST_TLS_CERT", key: "PEEP_TEST_TLS_KEY" };

struct Pair {
    certificate: String,
    key: String,
}

fn pair(valid_until_year: i32) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(valid_until_year, 7, 14);
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn with(certificate: &str, key: &str) -> Self {
        let place = Self { folder: TempDir::new().unwrap() };
        place.write(certificate, key);
        place
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.path("cert.pem"), certificate).unwrap();
        std::fs::write(self.path("key.pem"), key).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self) -> Result<Tls, String> {
        Tls::from_files(NAMES, &self.path("cert.pem"), &self.path("key.pem"), &["h2"])
    }
}

#[test]
fn every_way_to_be_unusable_is_one_clear_line() {
    let (one, other) = (pair(2050), pair(2050));
    let broken = one.certificate.replace("MII", "!!!");
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (certificate, key, expected) in [
        (&*one.certificate, &*other.key, "PEEP_TEST_TLS_KEY: does not belong to the certificate in"),
        ("", &one.key, "PEEP_TEST_TLS_CERT: holds no certificate in PEM form: "),
        (&one.key, &one.key, "PEEP_TEST_TLS_CERT: holds no certificate in PEM form: "),
        (&broken, &one.key, "PEEP_TEST_TLS_CERT: is broken PEM: "),
        (&one.certificate, &one.certificate, "PEEP_TEST_TLS_KEY: holds no private key in PEM form: "),
        (&one.certificate, &encrypted, "PEEP_TEST_TLS_KEY: holds an encrypted key, which cannot be used: "),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &one.key,
            "PEEP_TEST_TLS_CERT: holds something else than a certificate: ",
        ),
    ] {
        let message = Place::with(certificate, key).read().unwrap_err();
        assert!(message.starts_with(expected) && message.lines().count() == 1, "{message}");
    }
    let missing = Place::with(&one.certificate, &one.key);
    std::fs::remove_file(missing.path("key.pem")).unwrap();
    assert!(missing.read().unwrap_err().starts_with("PEEP_TEST_TLS_KEY: cannot be read (No such file"));
}

#[test]
fn one_setting_without_the_other_is_a_problem_and_none_is_no_tls() {
    for (set, missing) in [(NAMES.certificate, NAMES.key), (NAMES.key, NAMES.certificate)] {
        let env = std::collections::BTreeMap::from([(set, "/somewhere")]);
        let mut settings = Settings::new(&env);
        assert!(Tls::read(&mut settings, NAMES, &[]).is_none());
        assert_eq!(settings.finish().unwrap_err().to_string(), format!("{missing}: is missing beside {set}"));
    }
    let nothing = std::collections::BTreeMap::<String, String>::new();
    let mut settings = Settings::new(&nothing);
    assert!(Tls::read(&mut settings, NAMES, &[]).is_none() && settings.finish().is_ok());
}

#[test]
fn an_expired_certificate_is_used_with_a_warning() {
    let pair = pair(2020);
    let tls = Place::with(&pair.certificate, &pair.key).read().unwrap();
    let identity = Arc::clone(&tls.shared.current.read().identity);
    assert_eq!(validity::show(identity.valid_until_s), "2020-07-14");
    assert!(identity.warnings[0].contains("expired on 2020-07-14"), "{:?}", identity.warnings);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_used_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let pair = pair(2050);
    for (mode, warnings) in [(0o644, 1), (0o660, 1), (0o640, 0), (0o600, 0)] {
        let place = Place::with(&pair.certificate, &pair.key);
        std::fs::set_permissions(place.path("key.pem"), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(place.read().unwrap().shared.current.read().identity.warnings.len(), warnings, "{mode:o}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_leaves_the_old_in_place() {
    let (one, two) = (pair(2050), pair(2060));
    let place = Place::with(&one.certificate, &one.key);
    let tls = place.read().unwrap();
    let until = || validity::show(tls.shared.current.read().identity.valid_until_s);
    assert_eq!((tls.reload().await, until()), (None, "2050-07-14".to_owned()));

    place.write(&two.certificate, &one.key);
    let failure = tls.reload().await.unwrap();
    assert!(failure.starts_with("does not belong to the certificate"), "{failure}");
    assert_eq!(until(), "2050-07-14");
    let (health, clock) = (Health::new(), Clock::manual(0));
    let part = health.register("test_tls");
    tls.report(&part, &clock, Some(&failure));
    assert!(health.is_ready() && health.is_degraded());

    place.write(&two.certificate, &two.key);
    assert_eq!((tls.reload().await, until()), (None, "2060-07-14".to_owned()));
    tls.report(&part, &clock, None);
    assert!(!health.is_degraded());
    tls.report(&part, &Clock::manual(4_000_000_000_000), None);
    assert!(health.parts()["test_tls"].as_deref().unwrap().contains("expired on 2060-07-14"));
}
