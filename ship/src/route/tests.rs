use super::*;

fn template(target: &[u8]) -> String {
    let mut out = String::new();
    write_template(&Target::Path(target.into()), &[], &mut out);
    out
}

#[derive(serde::Deserialize)]
struct Fixture {
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    path: String,
    route: String,
}

fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/fixtures/route_templates.json");
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    fixture.vectors
}

#[test]
fn the_shared_vectors_hold() {
    let wrong: Vec<String> = vectors()
        .into_iter()
        .filter(|vector| template(vector.path.as_bytes()) != vector.route)
        .map(|vector| format!("{}\n  want {}\n  have {}", vector.path, vector.route, template(vector.path.as_bytes())))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_no_request_has_a_name_of_its_own() {
    let mut out = String::new();
    write_template(&Target::Missing, &[], &mut out);
    assert_eq!(out, "(none)");
    out.clear();
    write_template(&Target::NotHttp, &[], &mut out);
    assert_eq!(out, "(invalid)");
}

#[test]
fn bytes_that_are_no_utf8_are_content() {
    assert_eq!(template(b"/raw\xff\xfepath"), "/{text}");
    assert_eq!(template(b"/%ff%fe%00"), "/{text}");
}

#[test]
fn the_users_patterns_go_first() {
    let patterns: Vec<Pattern> =
        ["/product/{name}", "/post/{slug}.html", "/files/{*rest}"].iter().map(|text| text.parse().unwrap()).collect();
    let template = |path: &str| {
        let mut out = String::new();
        write_template(&Target::Path(path.as_bytes().into()), &patterns, &mut out);
        out
    };
    assert_eq!(template("/product/blue-shoes?x=1"), "/product/{name}");
    assert_eq!(template("/product/blue-shoes/reviews"), "/product/blue-shoes/reviews");
    assert_eq!(template("/post/hello-world.html"), "/post/{slug}.html");
    assert_eq!(template("/files/a/b/c"), "/files/{*rest}");
    assert_eq!(template("/files"), "/files");
}

#[test]
fn bad_patterns_are_refused() {
    for text in ["product", "/a b", "/{a}{b}", "/{*rest}/x", "/{}", "/{a", "/a?b"] {
        assert!(text.parse::<Pattern>().is_err(), "{text}");
    }
}

#[test]
fn beyond_the_limit_routes_are_other_and_the_segment_is_named_once() {
    let mut routes = Routes::new(3);
    for route in ["/", "/shop/red", "/shop/blue"] {
        assert_eq!(routes.admit(route), Admission::Known);
    }
    let Admission::Other { explanation: Some(explanation) } = routes.admit("/shop/green") else {
        panic!("the fourth route is refused with an explanation");
    };
    assert!(explanation.contains("Segment 2 varies most: 3 values below /shop/"), "{explanation}");
    assert!(explanation.contains("--route '/shop/{name}'"), "{explanation}");
    assert_eq!(routes.admit("/shop/white"), Admission::Other { explanation: None });
    assert_eq!(routes.admit("/shop/red"), Admission::Known);
    assert_eq!((routes.len(), routes.refused()), (3, 2));
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_a_bounded_plain_template(target in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let route = template(&target);
        proptest::prop_assert!(route.len() <= TEMPLATE_BYTES_MAX);
        proptest::prop_assert!(route.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
        proptest::prop_assert!(!route.contains('?'));
    }

    #[test]
    fn a_template_is_its_own_template(path in "(/[a-zA-Z0-9._~@:{}%;,-]{0,40}){0,10}") {
        let once = template(path.as_bytes());
        proptest::prop_assert_eq!(template(once.as_bytes()), once);
    }

    #[test]
    fn no_secret_of_a_query_gets_through(secret in "[a-z]{12}") {
        let target = format!("/login?token={secret}#{secret}");
        proptest::prop_assert!(!template(target.as_bytes()).contains(&secret));
    }
}
