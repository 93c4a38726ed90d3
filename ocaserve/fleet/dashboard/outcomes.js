// What the control plane says of a client, or foresees, in words and rows.
import {bits, count, percent} from './format.js';
import {fill, number} from './tables.js';

const MOST = 12;

function paragraph(text, kind) {
  return Object.assign(document.createElement('p'), {className: `verdict ${kind}`, textContent: text});
}

function list(texts) {
  const made = document.createElement('ul');
  made.append(...texts.map((text) => Object.assign(document.createElement('li'), {textContent: text})));
  return made;
}

// Of GET /v1/explain.
export function showExplanation(place, {ip, key, served, because, candidates}) {
  const first = candidates.find((each) => each.chosen === 1);
  const what = key ? ` (${key})` : '';
  const verdict = served ? `${ip}${what} is served by ${first.server}.` : `Nobody serves ${ip}${what}.`;
  place.replaceChildren(paragraph(verdict, served ? 'ok' : 'error'), list(because));
}

const target = (move) => move.to === null ? 'nobody' : move.to;

// Of POST /v1/what-if, in sentences: the worst first.
export function tellOutlook({clients, span_s: span, moves, overloaded, appliances, uncovered_networks: lost, uncovered_bits_per_s: lostRate}) {
  const said = [];
  if (lost) said.push(`${count(lost)} network${lost === 1 ? '' : 's'} would have nobody: ${bits(lostRate)}.`);
  for (const id of overloaded) {
    const load = appliances.find((each) => each.id === id);
    said.push(`${id} would be overloaded: ${bits(load.after_bits_per_s)} of ${bits(load.total_bits_per_s)}.`);
  }
  const moved = moves.reduce((sum, move) => sum + move.bits_per_s, 0);
  said.push(moves.length ? `${bits(moved)} would move, of ${count(clients)} clients in the last ${span / 60} minutes.`
    : `Nothing would move: no client of the last ${span / 60} minutes is there.`);
  for (const move of moves.slice(0, MOST)) said.push(`${move.from} → ${target(move)}: ${bits(move.bits_per_s)}`);
  if (moves.length > MOST) said.push(`and ${moves.length - MOST} more`);
  return said;
}

export function showOutlook(place, name, found) {
  const isBad = found.uncovered_networks > 0 || found.overloaded.length > 0;
  const [first, ...others] = tellOutlook(found);
  const table = document.createElement('table');
  table.setAttribute('aria-labelledby', 'what-if-title');
  fill(table, ['appliance', number('now'), number('then'), number('can take')],
    found.appliances.map((each) => [each.id, number(bits(each.before_bits_per_s)),
      {text: bits(each.after_bits_per_s), kind: each.overloaded ? 'number error' : 'number'},
      number(each.total_bits_per_s === null ? 'unknown' : bits(each.total_bits_per_s))]),
    'no client has asked of late');
  place.replaceChildren(paragraph(`Without ${name}: ${first}`, isBad ? 'error' : 'ok'), list(others), table);
}

export function showTaken(table, networks) {
  fill(table, ['network', number('expected'), 'by'], networks.map((each) => [each.network,
    number(bits(each.bits_per_s)),
    each.servers.length ? each.servers.map(({server, share}) => share === 1 ? server : `${server} ${percent(share)}`).join(', ')
      : {text: 'nobody', kind: 'error'}]), 'no client has asked of late');
}
