//! The made-up shop: its services, their routes, and how they behave on a good day.

/// One service and the share of all traffic that it gets.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) share: f64,
    pub(crate) hosts: &'static [&'static str],
    pub(crate) version: &'static str,
    pub(crate) routes: &'static [Route],
}

pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) template: &'static str,
    /// Relative to the other routes of the service.
    pub(crate) weight: f64,
    pub(crate) median_ms: f64,
    /// Of the logarithm of the duration: 0.3 is steady, 1.0 has a long tail.
    pub(crate) sigma: f64,
    /// The usual status.
    pub(crate) status: u16,
    /// Median size of the answer.
    pub(crate) bytes_out: f64,
    /// Other statuses, each with its probability.
    pub(crate) others: &'static [(u16, f64)],
}

const fn route(
    method: &'static str,
    template: &'static str,
    weight: f64,
    (median_ms, sigma): (f64, f64),
    (status, bytes_out): (u16, f64),
    others: &'static [(u16, f64)],
) -> Route {
    Route { method, template, weight, median_ms, sigma, status, bytes_out, others }
}

/// Nine services; the shares add up to 100.
pub(crate) const SERVICES: &[Service] = &[
    Service {
        name: "gateway",
        share: 34.0,
        hosts: &["gateway-1", "gateway-2", "gateway-3"],
        version: "v5.2.1",
        routes: &[
            route("GET", "/api/products", 20.0, (38.0, 0.5), (200, 18_400.0), &[(499, 0.001), (502, 0.0004)]),
            route("GET", "/api/products/{id}", 24.0, (31.0, 0.45), (200, 3_100.0), &[(404, 0.011), (502, 0.0004)]),
            route(
                "GET",
                "/api/search",
                16.0,
                (64.0, 0.65),
                (200, 9_800.0),
                &[(400, 0.004), (499, 0.004), (504, 0.0006)],
            ),
            route("POST", "/api/cart/items", 8.0, (44.0, 0.5), (201, 640.0), &[(409, 0.006), (422, 0.004)]),
            route(
                "POST",
                "/api/checkout",
                5.0,
                (212.0, 0.55),
                (201, 910.0),
                &[(402, 0.012), (422, 0.008), (502, 0.001)],
            ),
            route("GET", "/api/orders/{id}", 7.0, (52.0, 0.5), (200, 2_050.0), &[(403, 0.002), (404, 0.006)]),
            route("POST", "/api/login", 5.0, (118.0, 0.35), (200, 820.0), &[(401, 0.06), (429, 0.004)]),
            route("GET", "/api/images/{hash}", 12.0, (7.0, 0.9), (200, 41_000.0), &[(304, 0.3), (404, 0.004)]),
            route("GET", "/healthz", 3.0, (0.4, 0.3), (200, 2.0), &[]),
        ],
    },
    Service {
        name: "checkout",
        share: 9.0,
        hosts: &["checkout-1", "checkout-2", "checkout-3", "checkout-4"],
        version: "v2.13.2",
        routes: &[
            route("GET", "/cart", 30.0, (9.0, 0.5), (200, 1_900.0), &[(404, 0.02)]),
            route("POST", "/cart/items", 22.0, (24.0, 0.5), (201, 640.0), &[(409, 0.006)]),
            route("PUT", "/cart/items/{id}", 14.0, (18.0, 0.5), (200, 640.0), &[(404, 0.004)]),
            route("DELETE", "/cart/items/{id}", 5.0, (13.0, 0.4), (204, 0.0), &[]),
            route("POST", "/shipping/quote", 10.0, (86.0, 0.6), (200, 480.0), &[(422, 0.01), (504, 0.001)]),
            route("POST", "/buy", 14.0, (164.0, 0.5), (201, 910.0), &[(402, 0.015), (502, 0.001)]),
            route("GET", "/payments/{id}", 5.0, (33.0, 0.5), (200, 720.0), &[(404, 0.003)]),
        ],
    },
    Service {
        name: "search",
        share: 13.0,
        hosts: &["search-1", "search-2", "search-3", "search-4"],
        version: "v8.0.7",
        routes: &[
            route("GET", "/search", 60.0, (46.0, 0.7), (200, 9_800.0), &[(400, 0.004), (504, 0.0005)]),
            route("GET", "/suggest", 30.0, (11.0, 0.5), (200, 700.0), &[]),
            route("GET", "/facets", 8.0, (28.0, 0.5), (200, 2_300.0), &[]),
            route("GET", "/similar/{id}", 5.0, (35.0, 0.6), (200, 4_100.0), &[(404, 0.01)]),
            route("POST", "/reindex", 0.3, (1_400.0, 0.4), (202, 40.0), &[(409, 0.05)]),
        ],
    },
    Service {
        name: "catalog",
        share: 15.0,
        hosts: &["catalog-1", "catalog-2", "catalog-3"],
        version: "v3.41.0",
        routes: &[
            route("GET", "/products", 30.0, (14.0, 0.5), (200, 18_400.0), &[]),
            route("GET", "/products/{id}", 45.0, (6.0, 0.5), (200, 3_100.0), &[(404, 0.012)]),
            route("GET", "/categories", 12.0, (4.0, 0.4), (200, 5_200.0), &[(304, 0.4)]),
            route("GET", "/categories/{slug}", 10.0, (7.0, 0.5), (200, 11_000.0), &[(404, 0.008)]),
            route("GET", "/prices", 8.0, (9.0, 0.5), (200, 1_300.0), &[]),
            route("PATCH", "/products/{id}", 2.0, (22.0, 0.5), (200, 3_100.0), &[(409, 0.01), (412, 0.01)]),
        ],
    },
    Service {
        name: "images",
        share: 12.0,
        hosts: &["images-1", "images-2"],
        version: "v1.9.3",
        routes: &[
            route("GET", "/img/{hash}", 60.0, (3.2, 1.0), (200, 41_000.0), &[(304, 0.3), (404, 0.004)]),
            route("GET", "/thumb/{size}/{hash}", 30.0, (9.0, 0.9), (200, 7_400.0), &[(304, 0.3)]),
            route("HEAD", "/img/{hash}", 4.0, (1.1, 0.5), (200, 0.0), &[]),
            route("GET", "/sprites/{name}.svg", 4.0, (1.6, 0.5), (200, 12_000.0), &[(304, 0.5)]),
            route("POST", "/upload", 2.0, (340.0, 0.6), (201, 220.0), &[(413, 0.02), (415, 0.01)]),
        ],
    },
    Service {
        name: "auth",
        share: 6.0,
        hosts: &["auth-1", "auth-2"],
        version: "v4.4.0",
        routes: &[
            route("POST", "/token", 50.0, (42.0, 0.3), (200, 1_100.0), &[(400, 0.004), (401, 0.02)]),
            route("POST", "/login", 18.0, (96.0, 0.25), (200, 820.0), &[(401, 0.06), (429, 0.004)]),
            route("GET", "/userinfo", 12.0, (5.0, 0.4), (200, 610.0), &[(401, 0.01)]),
            route("GET", "/jwks.json", 12.0, (1.1, 0.3), (200, 1_600.0), &[(304, 0.6)]),
            route("POST", "/mfa/verify", 5.0, (61.0, 0.4), (200, 240.0), &[(401, 0.09)]),
            route("POST", "/logout", 3.0, (7.0, 0.4), (204, 0.0), &[]),
        ],
    },
    Service {
        name: "orders",
        share: 5.0,
        hosts: &["orders-1", "orders-2"],
        version: "v6.1.0",
        routes: &[
            route("GET", "/orders", 25.0, (27.0, 0.55), (200, 8_600.0), &[]),
            route("GET", "/orders/{id}", 40.0, (12.0, 0.5), (200, 2_050.0), &[(403, 0.002), (404, 0.006)]),
            route("POST", "/orders", 15.0, (74.0, 0.5), (201, 1_150.0), &[(409, 0.004), (500, 0.0008)]),
            route("GET", "/orders/{id}/invoice.pdf", 4.0, (310.0, 0.5), (200, 88_000.0), &[(404, 0.01)]),
            route("POST", "/orders/{id}/refund", 1.0, (240.0, 0.5), (202, 300.0), &[(409, 0.03)]),
        ],
    },
    Service {
        name: "sessions",
        share: 4.0,
        hosts: &["sessions-1", "sessions-2"],
        version: "v2.0.5",
        routes: &[
            route("GET", "/sessions/{id}", 60.0, (1.4, 0.5), (200, 540.0), &[(404, 0.03)]),
            route("PUT", "/sessions/{id}", 25.0, (2.3, 0.5), (204, 0.0), &[]),
            route("POST", "/sessions", 8.0, (3.9, 0.4), (201, 310.0), &[]),
            route("DELETE", "/sessions/{id}", 4.0, (2.0, 0.4), (204, 0.0), &[]),
            route("GET", "/metrics", 1.0, (6.0, 0.3), (200, 22_000.0), &[]),
        ],
    },
    Service {
        name: "notifications",
        share: 2.0,
        hosts: &["notifications-1"],
        version: "v1.17.2",
        routes: &[
            route("POST", "/push", 45.0, (62.0, 0.7), (202, 90.0), &[(410, 0.02)]),
            route("POST", "/email", 40.0, (142.0, 0.6), (202, 90.0), &[(502, 0.003)]),
            route("POST", "/sms", 10.0, (230.0, 0.6), (202, 90.0), &[(429, 0.01), (502, 0.004)]),
            route("GET", "/templates/{name}", 5.0, (2.4, 0.4), (200, 4_000.0), &[(304, 0.3)]),
            route("POST", "/webhooks/{provider}", 6.0, (18.0, 0.6), (204, 0.0), &[(400, 0.02)]),
        ],
    },
];
