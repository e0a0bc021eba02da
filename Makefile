# The commands of the project. Each one is a line here and a script in scripts/.
# Written for GNU make 3.81 and newer, which is what macOS ships.

.DEFAULT_GOAL := help
.PHONY: help dev up down status logs reset demo demo-apps check test sdk-extra bench nginx-bench faults hostile ship-proof mutants fuzz screenshots

help: ## this list
	@scripts/help.sh

dev: ## build and run everything in the foreground with a short demo load; Ctrl-C stops it
	@scripts/dev.sh dev

up: ## the same, detached: returns when every service is ready
	@scripts/dev.sh up

down: ## stop what `make up` started; safe to call twice
	@scripts/dev.sh down

status: ## health of each part
	@scripts/dev.sh status

logs: ## follow the logs of the running stack
	@scripts/dev.sh logs

reset: ## delete the local data (asks first; YES=1 does not ask)
	@scripts/dev.sh reset

demo: ## send real-looking traffic to the running stack (RATE=200 events per second, FOR=10m)
	@scripts/dev.sh demo

demo-apps: ## the example applications behind an nginx, with load: both sides of each route (APPS="axum express fastify next" RATE=20)
	@scripts/demo-apps.sh

check: ## format, lint, docs, dependency policy
	@scripts/check.sh

test: ## every test, against a real Postgres, a real Kafka and a real browser
	@scripts/test.sh

sdk-extra: ## the tests of the SDKs with the examples that take minutes to build or to download: tonic, Bun, Deno, Next.js
	@scripts/sdk-extra.sh

bench: ## the benchmarks; prints ratios, see benches/
	@scripts/bench.sh

nginx-bench: ## what nginx loses by telling peep of each request, by its log and by the module (ROUNDS=9 SECONDS_EACH=4 TURNS=600)
	@scripts/nginx-bench.sh

faults: ## break everything under load and prove that nothing is lost or doubled (FAULT=F06 EVENTS=20000 SEED=1)
	@scripts/faults.sh

hostile: ## send what no honest client sends, straight and through real proxies (CASE=H08)
	@scripts/hostile.sh

ship-proof: ## kill the shipper and rotate its log under load, and count each line (KILLS=20 ROTATIONS=20 ROUNDS=1)
	@scripts/ship.sh

mutants: ## break what exactly-once rests on, one thing at a time, and see that a suite turns red (MUTANT=dedup SEEDS=1000)
	@node scripts/mutants.mjs

fuzz: ## feed every decoder with what no client sends, for a while (TARGET=record FOR=60)
	@scripts/fuzz.sh

screenshots: ## pictures of every page of the dashboard into docs/images, from a stack of its own
	@scripts/screenshots.sh
