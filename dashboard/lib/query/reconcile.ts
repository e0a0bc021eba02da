/** `GET /v1/reconcile`: the books of the project, and whether they add up. */
import { array, type Json, number, object, text, textOrNull } from '@/lib/series/parse';
import { getJson, type Window } from './http';

export interface Books {
  fromMs: number;
  toMs: number;
  /** Acknowledged and settled: counted, dead-lettered or duplicate. What is in flight comes on top. */
  settled: number;
  counted: number;
  duplicate: number;
  deadLettered: number;
  inFlight: number;
  inFlightExact: boolean;
  inFlightNote: string | null;
  balanced: boolean;
  /** A sentence for every check that does not hold. */
  differences: Difference[];
}

export interface Difference {
  events: number | null;
  partition: number | null;
  since: string | null;
  words: string;
}

export async function fetchBooks(window: Window, signal: AbortSignal): Promise<Books> {
  const query = new URLSearchParams({ from: String(window.from), to: String(window.to) });
  return parseBooks(await getJson(`/v1/reconcile?${query}`, signal));
}

export function parseBooks(value: unknown): Books {
  const answer = object(value, 'reconcile');
  const settled = number(answer.accepted, 'accepted');
  const counted = number(answer.rolled_up, 'rolled_up');
  const duplicate = number(answer.duplicate, 'duplicate');
  const deadLettered = number(object(answer.dead_lettered, 'dead_lettered').total, 'dead_lettered.total');
  return {
    fromMs: number(answer.from_ms, 'from_ms'),
    toMs: number(answer.to_ms, 'to_ms'),
    settled,
    counted,
    duplicate,
    deadLettered,
    inFlight: number(answer.in_flight, 'in_flight'),
    inFlightExact: answer.in_flight_exact === true,
    inFlightNote: textOrNull(answer.in_flight_note, 'in_flight_note'),
    balanced: answer.balanced === true,
    differences: differences(object(answer.checks, 'checks'), settled - counted - duplicate - deadLettered),
  };
}

function differences(checks: Json, unsettled: number): Difference[] {
  const found: Difference[] = [];
  const check = (name: string) => object(checks[name], `checks.${name}`);
  if (check('sums').ok !== true)
    found.push({ events: unsettled, partition: null, since: null, words: 'The sums do not add up.' });
  const chain = check('chain');
  for (const [index, item] of array(chain.gaps, 'checks.chain.gaps').entries()) {
    const gap = object(item, `checks.chain.gaps[${index}]`);
    found.push({
      events: null,
      partition: number(gap.partition, 'gap.partition'),
      since: null,
      words: `Between two flushes, offset ${number(gap.ends, 'gap.ends')} to ${number(gap.continues, 'gap.continues')} is missing.`,
    });
  }
  const days = check('days');
  for (const [index, item] of array(days.differences, 'checks.days.differences').entries()) {
    const off = object(item, `checks.days.differences[${index}]`);
    const booked = number(off.rolled_up, 'day.rolled_up');
    const rollups = number(off.rollups, 'day.rollups');
    found.push({
      events: booked - rollups,
      partition: number(off.partition, 'day.partition'),
      since: text(off.day, 'day.day'),
      words: `The books say ${booked}, the rollups hold ${rollups}.`,
    });
  }
  if (check('dead_letters').ok !== true)
    found.push({
      events: null,
      partition: null,
      since: null,
      words: 'There are more dead letters than the books know of.',
    });
  return found;
}
