/** The stations of one event, one under the other; a station that was not reached is hollow and says why. */

import type { Zone } from '@/lib/format/time';
import { stops, verdict } from '@/lib/ledger/passport';
import type { Passport } from '@/lib/query/receipts';

export function PassportView({
  passport,
  zone,
  wide = false,
}: {
  passport: Passport;
  zone: Zone;
  wide?: boolean;
}) {
  const way = stops(passport, zone);
  const bad = passport.status === 'dead_lettered' || passport.status === 'lost';
  return (
    <div>
      <p className={bad ? 'font-strong text-bad' : 'font-name'}>{verdict(passport)}</p>
      <ol className={`mt-3 flex flex-col ${wide ? 'tablet:flex-row' : ''}`}>
        {way.map((stop, index) => (
          <li
            key={stop.name}
            className={`relative flex min-w-0 flex-1 gap-3 pb-4 last:pb-0 ${wide ? 'tablet:flex-col tablet:gap-2 tablet:pr-4 tablet:pb-0' : ''}`}
          >
            {index < way.length - 1 && (
              <span
                aria-hidden="true"
                className={`absolute top-4 bottom-0 left-[5px] w-px ${way[index + 1]?.reached ? 'bg-ink3' : 'bg-line'} ${
                  wide
                    ? 'tablet:top-[5px] tablet:right-1 tablet:bottom-auto tablet:left-5 tablet:h-px tablet:w-auto'
                    : ''
                }`}
              />
            )}
            <svg
              width="11"
              height="11"
              viewBox="0 0 11 11"
              className={`mt-1 shrink-0 ${wide ? 'tablet:mt-0' : ''} ${stop.reached ? 'text-ink' : 'text-ink3'}`}
              role="img"
              aria-label={stop.reached ? 'reached' : 'not reached'}
            >
              {stop.reached ? (
                <circle cx="5.5" cy="5.5" r="4.5" fill="currentColor" />
              ) : (
                <circle cx="5.5" cy="5.5" r="4" fill="none" stroke="currentColor" strokeDasharray="2 2" />
              )}
            </svg>
            <div className="min-w-0">
              <p className={stop.reached ? 'font-name' : 'text-ink2'}>
                {stop.title}
                {stop.after !== null && (
                  <span className="ml-2 font-number text-12 text-ink2">{stop.after}</span>
                )}
              </p>
              <p className="text-12 text-ink2">{stop.detail}</p>
            </div>
          </li>
        ))}
      </ol>
    </div>
  );
}
