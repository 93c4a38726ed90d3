// Numbers and times as text. All times are UTC, as in the logs and on the command line.

const short = (value, units, step) => {
  let place = 0;
  while (value >= step && place < units.length - 1) { value /= step; place += 1; }
  return `${value.toFixed(place && value < 100 ? 1 : 0)} ${units[place]}`;
};

export const bits = (value) => short(value, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'], 1000);
export const bytes = (value) => short(value, ['B', 'kB', 'MB', 'GB', 'TB', 'PB'], 1000);
export const count = (value) => value.toLocaleString('en');
export const percent = (share) => `${(share * 100).toFixed(1)} %`;

// Today the time alone; the date before it on other days.
export function moment(text) {
  const iso = new Date(text).toISOString();
  const today = new Date().toISOString().slice(0, 10);
  const [date, time] = [iso.slice(0, 10), iso.slice(11, 19)];
  return date === today ? time : `${date} ${time.slice(0, 5)}`;
}
