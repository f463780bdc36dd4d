// Numbers and documents in words.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(count) {
  let unit = 0;
  while (count >= 1024 && unit + 1 < UNITS.length) {
    count /= 1024;
    ++unit;
  }
  return `${Number.isInteger(count) ? count : count.toFixed(count < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

const two = (number) => String(number).padStart(2, "0");

/// "9.4 s", "2 min 05 s", "3 h 20 min", "4 d 01 h".
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
  return `${Math.floor(whole / 86400)} d ${two(Math.floor(whole / 3600) % 24)} h`;
}

/// "0:01:09.4": of the array clock, since its start.
export function moment(seconds) {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  const whole = Math.floor(tenths / 10);
  const days = Math.floor(whole / 86400);
  const time = `${Math.floor(whole / 3600) % 24}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}.${tenths % 10}`;
  return days > 0 ? `${days} d ${time}` : time;
}

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/// The keys of a rule's match or action, without its type.
export const keys = (object) => Object.entries(object ?? {}).filter(([key]) => key !== "type")
  .map(([key, value]) => `${key} ${written(value)}`).join(", ");
