/** Ends the session and goes to the door. */
import { endSession } from '@/lib/query/session';

/** Set once a session worked here, so its end can be told from never having had one. */
export const SEEN = 'peep.session';

export function leave(): void {
  window.localStorage.removeItem(SEEN);
  void endSession().finally(() => window.location.assign('/login/'));
}
