// Values as people read them. Pure: what depends on the time of day takes `now`.

const COUNT = new Intl.NumberFormat("en");
const RATE = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const NONE = "–";

/** 12345 -> "12,345". */
export function count(value) {
  return Number.isFinite(Number(value)) && value !== null && value !== ""
    ? COUNT.format(Number(value))
    : NONE;
}

/** A rate with one decimal while it is small. */
export function rate(value) {
  return Number.isFinite(value)
    ? value >= 100
      ? COUNT.format(Math.round(value))
      : RATE.format(value)
    : NONE;
}

/** A decimal string in dollars, with as many places as it needs to be told from nothing. */
export function usd(value) {
  const amount = Number(value);
  if (value === null || value === undefined || value === "" || !Number.isFinite(amount))
    return NONE;
  const size = Math.abs(amount);
  const places = size === 0 || size >= 1 ? 2 : size >= 0.01 ? 3 : 5;
  return `${amount < 0 ? "-" : ""}$${new Intl.NumberFormat("en", { minimumFractionDigits: Math.min(places, 2), maximumFractionDigits: places }).format(size)}`;
}

/** Milliseconds in the unit that fits. */
export function ms(value) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return NONE;
  const n = Number(value);
  if (n < 1000) return `${Math.round(n)} ms`;
  return seconds(n / 1000);
}

/** Seconds in the unit that fits. */
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return NONE;
  const n = Math.abs(Number(value));
  if (n < 10) return `${n.toFixed(n < 1 ? 2 : 1)} s`;
  if (n < 120) return `${Math.round(n)} s`;
  if (n < 7200) return `${Math.round(n / 60)} min`;
  if (n < 172_800) return `${Math.round(n / 3600)} h`;
  return `${Math.round(n / 86_400)} d`;
}

/** A share of 0 to 1 as a percentage; small ones with a decimal. */
export function percent(value) {
  const part = Number(value) * 100;
  if (value === null || value === undefined || !Number.isFinite(part)) return NONE;
  return `${part > 0 && part < 10 ? Math.round(part * 10) / 10 : Math.round(part)} %`;
}

/** "2 min ago", "in 4 h"; empty for what is no time. */
export function relative(at, now) {
  const then = Date.parse(at);
  if (Number.isNaN(then)) return at ? String(at) : NONE;
  const away = (then - now) / 1000;
  if (Math.abs(away) < 1) return "now";
  const size = Math.abs(away) < 60 ? `${Math.floor(Math.abs(away))} s` : seconds(away);
  return away > 0 ? `in ${size}` : `${size} ago`;
}

/** "2026-11-22 00:06:29.120 UTC". */
export function absolute(at) {
  const then = Date.parse(at);
  return Number.isNaN(then)
    ? String(at ?? "")
    : `${new Date(then).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

/** The time since the start of a case: "+1.25 s". */
export function offset(at, start) {
  const away = Date.parse(at) - Date.parse(start);
  return Number.isNaN(away)
    ? NONE
    : away < 1000
      ? `+${Math.max(0, Math.round(away))} ms`
      : `+${seconds(away / 1000)}`;
}

/** A long id in little room; the whole of it stands in a title. */
export function short(id, length = 12) {
  const said = String(id ?? "");
  return said.length <= length + 1 ? said : `${said.slice(0, length)}…`;
}

/** Any value as text: strings as they are, the rest as JSON. */
export function told(value) {
  if (value === null || value === undefined || value === "") return NONE;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Of a step "waiting" is no more than not yet. */
export function stepTone(word) {
  return word === "waiting" ? "idle" : tone(word);
}

/** How good or bad a word of the system is: ok, info, person, warn, bad or idle. */
export function tone(word) {
  return Object.hasOwn(TONES, word) ? TONES[word] : "idle";
}

const TONES = {
  completed: "ok",
  done: "ok",
  closed: "ok",
  approve: "ok",
  replayed: "ok",
  ok: "ok",
  ready: "ok",
  running: "ok",
  open: "info",
  sent: "info",
  mapping: "info",
  delegated: "info",
  listening: "info",
  opened: "info",
  asking: "person",
  asks: "person",
  waiting: "person",
  correct: "person",
  corrected: "person",
  degraded: "warn",
  escalated: "warn",
  parked: "warn",
  undoing: "warn",
  retrying: "warn",
  "will retry": "warn",
  paused: "warn",
  half_open: "warn",
  "half-open": "warn",
  warning: "warn",
  held: "warn",
  warn: "warn",
  failed: "bad",
  expired: "bad",
  reject: "bad",
  abandoned: "bad",
  critical: "bad",
  error: "bad",
  down: "bad",
  stall: "bad",
  stop: "bad",
};

/** "2h" or "7d" ago as an RFC 3339 time; other text as it is. */
export function since(text, now) {
  const ago = /^(\d{1,9})([smhd])$/.exec(String(text ?? "").trim());
  if (!ago) return String(text ?? "").trim();
  const size = { s: 1, m: 60, h: 3600, d: 86_400 }[ago[2]];
  return new Date(now - Number(ago[1]) * size * 1000).toISOString();
}
