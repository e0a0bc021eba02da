/**
 * A route template out of a path, for servers that have no router: `/items/49777.json?a=1` becomes `/items/{id}.json`.
 *
 * In: the target of a request. Out: a template of at most 256 bytes without query, ids, names and secrets, as far as
 * they can be told from words. Promised: the rules and vectors of `wire/fixtures/route_templates.json`, which all of
 * peep's clients share. A real route is better: nobody can know whether `/users/ada` is a page or a person.
 */

const TEMPLATE_BYTES_MAX = 256;
const SEGMENTS_MAX = 8;
const SEGMENT_BYTES_MAX = 64;
const REST = '/{rest}';

export function guessRoute(target: string): string {
  const path = pathOf(target);
  if (path === '*') return '*';
  if (!path.startsWith('/')) return '(invalid)';
  let template = '';
  let count = 0;
  for (const raw of path.split('/')) {
    const end = raw.indexOf(';');
    const segment = end < 0 ? raw : raw.slice(0, end);
    if (segment === '') continue;
    if (count === SEGMENTS_MAX) return template + REST;
    const longer = `${template}/${segmentTemplate(segment)}`;
    if (longer.length > TEMPLATE_BYTES_MAX - REST.length - 1) return template + REST;
    template = longer;
    count += 1;
  }
  return template === '' || path.endsWith('/') ? `${template}/` : template;
}

/** Without query and fragment, and without scheme and authority in the absolute form. */
function pathOf(target: string): string {
  const path = target.replace(/[?#].*$/s, '');
  if (path.startsWith('/')) return path;
  const scheme = path.indexOf('://');
  if (scheme < 0) return path;
  const slash = path.indexOf('/', scheme + 3);
  return slash < 0 ? '/' : path.slice(slash);
}

function segmentTemplate(raw: string): string {
  const segment = raw.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  if (!/^[A-Za-z0-9._~:@+=$!*()[\]{}-]*$/.test(segment)) return '{text}';
  if (/^@./.test(segment)) return '@{name}';
  if (/^~./.test(segment)) return '~{name}';
  if (segment.includes('@')) return '{email}';
  if (segment.includes('{') && segment.length <= SEGMENT_BYTES_MAX) return segment;
  const extension =
    /(?<=.)\.(?:[A-Za-z][A-Za-z0-9]{0,3}|[A-Za-z]{1,7}[A-Za-z0-9]?)$/.exec(segment)?.[0] ?? '';
  const stem = segment.slice(0, segment.length - extension.length);
  return stemTemplate(stem) + extension;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const DATE = /^[12]\d{3}[-_][01]\d[-_][0-3]\d$/;
const DATE_AND_TIME = /^[12]\d{3}[-_][01]\d[-_][0-3]\d(?:[Tt]\d.*)?$/;
const HEX = /^(?=.*\d)(?=.*[a-f])[0-9a-f]{8,}$/i;

function stemTemplate(stem: string): string {
  if (UUID.test(stem)) return '{uuid}';
  if (DATE_AND_TIME.test(stem)) return '{date}';
  if (/\d/.test(stem) && /^[-_.:+\d]+$/.test(stem)) return '{id}';
  if (HEX.test(stem)) return '{hex}';
  if (isToken(stem)) return '{token}';
  if (stem.length > SEGMENT_BYTES_MAX) return '{text}';
  return piecesTemplate(stem);
}

/** A name of several pieces, of which some may be values: `order-12345`, `main.3f2a9c1b`, `report-2024-10-12`. */
function piecesTemplate(stem: string): string {
  let template = '';
  let rest = stem;
  while (true) {
    const [length, name] = leadingPiece(rest);
    template += name;
    if (length >= rest.length) return template;
    template += rest[length];
    rest = rest.slice(length + 1);
  }
}

function leadingPiece(rest: string): [number, string] {
  const endsAt = (length: number) => rest.length === length || isSeparator(rest[length]);
  if (rest.length >= 36 && UUID.test(rest.slice(0, 36)) && endsAt(36)) return [36, '{uuid}'];
  if (rest.length >= 10 && DATE.test(rest.slice(0, 10)) && endsAt(10)) return [10, '{date}'];
  const length = rest.match(/^[^-_.:+]*/)?.[0].length ?? 0;
  const piece = rest.slice(0, length);
  if (HEX.test(piece)) return [length, '{hex}'];
  if (/^[A-Za-z]{0,3}\d{4,}$/.test(piece) && !/^(?:19|20)\d\d$/.test(piece)) return [length, '{id}'];
  return [length, piece];
}

function isSeparator(character: string | undefined): boolean {
  return character !== undefined && '-_.:+'.includes(character);
}

function isToken(stem: string): boolean {
  if (stem.length >= 8 && stem.endsWith('=')) return true;
  return stem.split(/[-_.:+]/).some((piece) => !HEX.test(piece) && (piece.length >= 32 || isRandom(piece)));
}

/** Letters and digits that change their kind more often than names do: `UserV2Api` three times, `dQw4w9WgXcQ` seven. */
function isRandom(piece: string): boolean {
  if (piece.length < 8 || !/^(?=.*\d)[A-Za-z0-9]+$/.test(piece)) return false;
  const changes = piece.match(/(?=[a-z][A-Z]|\d[A-Za-z]|[A-Za-z]\d)/g)?.length ?? 0;
  if (piece.length < 16) return changes >= 4 && changes * 3 >= piece.length;
  return changes >= 5 || (piece.length >= 24 && changes >= 4);
}
