/** The browser's side of `Platform`: real sockets, real timers. Everything stays on the page's own origin. */
import type { Channel, ChannelEvents, Platform, Transport, Verdict } from './source';

async function ticket(): Promise<string | null> {
  try {
    const answer = await fetch('/v1/tickets', {
      method: 'POST',
      credentials: 'same-origin',
      cache: 'no-store',
    });
    if (!answer.ok) return null;
    const found = (await answer.json().catch(() => null)) as { ticket?: unknown } | null;
    return typeof found?.ticket === 'string' ? found.ticket : null;
  } catch {
    return null;
  }
}

function openSocket(path: string, events: ChannelEvents): Channel {
  const scheme = window.location.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(`${scheme}//${window.location.host}${path}`);
  socket.onmessage = (event: MessageEvent<unknown>) => {
    if (typeof event.data === 'string') events.text(event.data);
  };
  socket.onclose = (event) => events.closed(event.reason);
  return {
    close: () => {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    },
  };
}

function openEvents(path: string, events: ChannelEvents): Channel {
  const source = new EventSource(path);
  const deliver = (event: MessageEvent<unknown>) => {
    if (typeof event.data === 'string') events.text(event.data);
  };
  for (const type of ['snapshot', 'frame', 'heartbeat']) source.addEventListener(type, deliver);
  // EventSource would retry by itself at a fixed pace; the backoff of the source is the only one.
  source.onerror = () => events.closed();
  return {
    close: () => {
      source.onerror = null;
      source.close();
    },
  };
}

/** Asks the same address as a stream and hangs up as soon as the status line is in. */
async function diagnose(path: string): Promise<Verdict> {
  const hangUp = new AbortController();
  try {
    const answer = await fetch(path, {
      headers: { accept: 'text/event-stream' },
      signal: hangUp.signal,
      cache: 'no-store',
    });
    if (answer.status === 401) return 'unauthorized';
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) {
      const body: unknown = await answer.json().catch(() => null);
      const error = (body as { error?: { message?: unknown } } | null)?.error?.message;
      return { refused: typeof error === 'string' ? error : `The server answered ${answer.status}.` };
    }
    return answer.ok ? 'ok' : 'unreachable';
  } catch {
    return 'unreachable';
  } finally {
    hangUp.abort();
  }
}

export const browserPlatform: Platform = {
  ticket,
  open: (transport: Transport, path, events) =>
    transport === 'websocket' ? openSocket(path, events) : openEvents(path, events),
  diagnose,
  now: () => Date.now(),
  random: () => Math.random(),
  setTimer: (run, afterMs) => window.setTimeout(run, afterMs),
  clearTimer: (timer) => window.clearTimeout(timer),
};
