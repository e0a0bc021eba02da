'use client';

/**
 * The filter: what was chosen as chips, what is typed beside them. Suggestions come from the server while a field is
 * named. Enter takes; a blank behind a finished term takes it too; Backspace in the empty field takes the last chip back.
 */
import { useEffect, useId, useRef, useState } from 'react';
import { Icon } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { isolated } from '@/lib/format/isolate';
import { count, write } from '@/lib/format/number';
import { fetchSuggestions } from '@/lib/query/suggest';
import { usePoll } from '@/lib/query/use-poll';
import {
  addTerm,
  FIELDS,
  type Field,
  fieldTerm,
  parseTerms,
  type Term,
  typing,
  words,
  writeTerm,
} from '@/lib/requests/terms';

interface Props {
  terms: readonly Term[];
  env: string | null;
  onChange: (terms: Term[]) => void;
}

interface Option {
  id: string;
  label: string;
  note: string;
  /** What it makes of the field: a finished term, or the beginning of one. */
  take: { term: Term } | { input: string };
}

const HINTS: Readonly<Record<Field, string>> = {
  service: 'name',
  route: 'the template, /cart/{id}',
  method: 'GET, POST, …',
  status: '502, 5xx or unknown',
  host: 'instance',
  version: 'release',
  env: 'environment',
  trace: '32 hexadecimal digits',
};
const ASKED = new Set<Field>(['service', 'route', 'method', 'status', 'host', 'version', 'env']);
const TYPING_MS = 90;

export function FilterBar({ terms, env, onChange }: Props) {
  const [input, setInput] = useState('');
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const [problems, setProblems] = useState<readonly string[]>([]);
  const field = useRef<HTMLInputElement>(null);
  const root = useRef<HTMLDivElement>(null);
  const id = useId();

  const now = typing(input);
  // A path is a route, named or not.
  const about = now.field ?? (now.prefix.startsWith('/') ? 'route' : null);
  const asked = useSettled(
    open && about !== null && ASKED.has(about)
      ? JSON.stringify([about, now.prefix, serviceOf(terms), env])
      : null,
  );
  const suggested = usePoll(
    asked,
    (signal) => {
      const [name, prefix, service] = JSON.parse(asked ?? '[]') as [Field, string, string | null];
      return fetchSuggestions(
        { field: name, prefix, service: name === 'service' ? null : service, env },
        signal,
      );
    },
    null,
  );
  const fits = suggested.answered === asked && suggested.data !== null;
  const options = open ? optionsFor(now, about, fits ? (suggested.data ?? []) : []) : [];
  const at = Math.min(active, options.length - 1);

  useEffect(() => {
    if (!open) return;
    const outside = (event: PointerEvent) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);

  const add = (added: readonly Term[]) => {
    if (added.length > 0) onChange(added.reduce<Term[]>((all, term) => addTerm(all, term), [...terms]));
  };
  const type = (text: string) => {
    setInput(text);
    setActive(-1);
    setOpen(true);
    setProblems([]);
  };
  const take = (option: Option) => {
    if ('input' in option.take) {
      type(option.take.input);
    } else {
      const before = parseTerms(now.before);
      add([...before.terms, option.take.term]);
      setProblems(before.problems);
      setInput('');
      setActive(-1);
    }
    field.current?.focus();
  };
  const commit = () => {
    const read = parseTerms(input);
    add(read.terms);
    setProblems(read.problems);
    // What was not understood stays to be corrected.
    setInput(
      read.problems.length > 0
        ? words(input)
            .filter((word) => parseTerms(word).problems.length > 0)
            .join(' ')
        : '',
    );
    setOpen(false);
  };

  return (
    <search>
      <div ref={root} className="relative">
        {/* biome-ignore lint/a11y/noStaticElementInteractions: the field inside takes the keys; a press beside it only leads there */}
        {/* biome-ignore lint/a11y/useKeyWithClickEvents: as above */}
        <div
          className="card flex min-h-10 flex-wrap items-center gap-1.5 px-2 py-1.5 focus-within:outline-2 focus-within:outline-focus"
          onClick={(event) => {
            if (event.target === event.currentTarget) field.current?.focus();
          }}
        >
          <span className="px-1 text-ink3">
            <Icon name="search" size={14} />
          </span>
          {terms.map((term) => (
            <Chip
              key={writeTerm(term)}
              term={term}
              onRemove={() => {
                onChange(terms.filter((one) => one !== term));
                field.current?.focus();
              }}
              onEdit={() => {
                onChange(terms.filter((one) => one !== term));
                type(writeTerm(term));
                field.current?.focus();
              }}
            />
          ))}
          <input
            ref={field}
            data-filter
            role="combobox"
            aria-label="Filter requests"
            aria-expanded={options.length > 0}
            aria-controls={`${id}-list`}
            aria-activedescendant={at >= 0 ? `${id}-${at}` : undefined}
            aria-describedby={`${id}-says`}
            aria-autocomplete="list"
            autoComplete="off"
            autoCapitalize="off"
            spellCheck={false}
            enterKeyHint="search"
            placeholder={terms.length === 0 ? 'status:5xx route:/buy >500ms "timeout"' : 'Add a filter'}
            className="h-7 min-w-40 flex-1 bg-transparent px-1 font-mono text-12 outline-none placeholder:text-ink3 max-tablet:h-9 max-tablet:text-15"
            value={input}
            onFocus={() => setOpen(true)}
            onChange={(event) => {
              const text = event.target.value;
              // A blank behind something that can only be a term: it becomes a chip.
              if (text.endsWith(' ') && !text.trim().includes('"')) {
                const read = parseTerms(text);
                if (
                  read.problems.length === 0 &&
                  read.terms.length > 0 &&
                  !read.terms.some((term) => term.kind === 'text')
                ) {
                  add(read.terms);
                  type('');
                  return;
                }
              }
              type(text);
            }}
            onKeyDown={(event) => {
              if (event.key === 'ArrowDown') {
                setOpen(true);
                setActive(Math.min(options.length - 1, at + 1));
              } else if (event.key === 'ArrowUp') setActive(Math.max(-1, at - 1));
              else if (event.key === 'Enter') {
                const option = options[at];
                if (option !== undefined) take(option);
                else commit();
              } else if (event.key === 'Tab' && !event.shiftKey && at >= 0) take(options[at] as Option);
              else if (event.key === 'Backspace' && input === '' && terms.length > 0)
                onChange(terms.slice(0, -1));
              else if (event.key === 'Escape') {
                if (open) setOpen(false);
                else if (input !== '') setInput('');
                else field.current?.blur();
              } else return;
              event.preventDefault();
            }}
            onBlur={(event) => {
              if (!root.current?.contains(event.relatedTarget)) setOpen(false);
            }}
          />
          {terms.length > 0 && (
            <button
              type="button"
              className="h-7 rounded-kbd px-2 text-12 text-ink2 hover:bg-hover hover:text-ink max-tablet:h-9"
              onClick={() => onChange([])}
            >
              Clear
            </button>
          )}
        </div>
        {options.length > 0 && (
          <div
            id={`${id}-list`}
            role="listbox"
            aria-label="Suggestions"
            className="appear absolute top-full left-0 z-20 mt-1 max-h-80 w-[440px] max-w-full overflow-y-auto rounded-card border border-line bg-raised p-1 shadow-popover"
          >
            {options.map((option, index) => (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox above holds the focus and the keys
              // biome-ignore lint/a11y/useFocusableInteractive: as above
              <div
                key={option.id}
                id={`${id}-${index}`}
                role="option"
                aria-selected={index === at}
                className={`flex min-h-7 cursor-pointer items-center gap-3 rounded-control px-2 max-tablet:min-h-11 ${index === at ? 'bg-hover' : ''}`}
                onPointerMove={() => setActive(index)}
                onPointerDown={(event) => event.preventDefault()}
                onClick={() => take(option)}
              >
                <span className="min-w-0 flex-1 truncate font-mono text-12">{option.label}</span>
                <span className="shrink-0 text-12 text-ink3">{option.note}</span>
              </div>
            ))}
          </div>
        )}
      </div>
      <p id={`${id}-says`} role="alert" className="mt-1 text-12 text-bad empty:hidden">
        {problems.join(' ')}
      </p>
    </search>
  );
}

function Chip({ term, onRemove, onEdit }: { term: Term; onRemove: () => void; onEdit: () => void }) {
  const text = writeTerm(term);
  const [name, value] = term.kind === 'field' ? [term.field, term.value] : ['', text];
  const negated = term.kind === 'field' && term.negated;
  return (
    <span className="inline-flex h-7 max-w-full items-center rounded-kbd border border-line bg-hover max-tablet:h-9">
      <button
        type="button"
        aria-label={`Edit ${isolated(text)}`}
        title={text}
        className="h-full min-w-0 truncate rounded-l-kbd pl-2 font-mono text-12"
        onClick={onEdit}
      >
        {negated && <span className="text-bad">not </span>}
        {name !== '' && <span className="text-ink2">{name}:</span>}
        <Name>{value}</Name>
      </button>
      <button
        type="button"
        aria-label={`Remove ${isolated(text)}`}
        className="grid h-full w-6 shrink-0 place-items-center rounded-r-kbd text-ink2 hover:text-ink max-tablet:w-9"
        onClick={onRemove}
      >
        <Icon name="close" size={11} />
      </button>
    </span>
  );
}

function serviceOf(terms: readonly Term[]): string | null {
  const term = terms.find((one) => one.kind === 'field' && one.field === 'service' && !one.negated);
  return term?.kind === 'field' ? term.value : null;
}

function optionsFor(
  now: ReturnType<typeof typing>,
  about: Field | null,
  values: readonly { value: string; count: number }[],
): Option[] {
  const options: Option[] = [];
  if (about !== null) {
    for (const { value, count: n } of values) {
      const term = fieldTerm(about, value, now.negated);
      if (typeof term === 'string') continue;
      options.push({ id: `v:${value}`, label: writeTerm(term), note: write(count(n)), take: { term } });
    }
    if (now.field === 'status')
      for (const name of ['5xx', '4xx', '2xx'])
        if (name.startsWith(now.prefix) && !options.some((option) => option.label.endsWith(name))) {
          const term = fieldTerm('status', name, now.negated) as Term;
          options.push({ id: `c:${name}`, label: writeTerm(term), note: 'class', take: { term } });
        }
  }
  if (now.field === null) {
    const prefix = now.prefix.toLowerCase();
    for (const name of FIELDS) {
      if (!name.startsWith(prefix) || now.prefix.startsWith('/')) continue;
      const label = `${now.negated ? '!' : ''}${name}:`;
      options.push({ id: `f:${name}`, label, note: HINTS[name], take: { input: `${now.before}${label}` } });
    }
    if (prefix === '')
      options.push({
        id: 'd',
        label: '>500ms',
        note: 'at least this long',
        take: { term: { kind: 'min', ms: 500 } },
      });
    if (prefix !== '' && !/^[<>]/.test(prefix)) {
      const text = now.prefix.replaceAll('"', '');
      if (text !== '')
        options.push({
          id: 't',
          label: `"${text}"`,
          note: 'anywhere in the event',
          take: { term: { kind: 'text', text } },
        });
    }
  }
  return options;
}

/** The value once it has stood for a moment, so that not every letter is a question. */
function useSettled(value: string | null): string | null {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => setSettled(value), value === null ? 0 : TYPING_MS);
    return () => window.clearTimeout(timer);
  }, [value]);
  return settled;
}
