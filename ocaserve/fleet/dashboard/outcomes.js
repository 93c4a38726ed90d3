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

const nobody = (name) => name === null ? 'nobody' : name;

function tellLoad({id, after_bits_per_s: after, total_bits_per_s: total, full}) {
  if (full) return `${id} would be full: it takes ${bits(after)}, and sends on what comes beyond that.`;
  return `${id} would be overloaded: ${bits(after)} of ${bits(total)}.`;
}

const loses = ({before_bits_per_s: before, after_bits_per_s: after}) => after > before;

// Of POST /v1/what-if, in sentences: the worst first.
export function tellOutlook({clients, span_s: span, moves, appliances, unserved, uncovered_networks: lost, uncovered_bits_per_s: lostRate}) {
  const said = [];
  if (lost) said.push(`${count(lost)} network${lost === 1 ? '' : 's'} would have nobody: ${bits(lostRate)}.`);
  for (const each of unserved.filter(loses)) {
    said.push(`Nobody would take ${bits(each.after_bits_per_s)}, for want of ${each.cause}: ${bits(each.before_bits_per_s)} now.`);
  }
  for (const load of appliances.filter((each) => each.overloaded)) said.push(tellLoad(load));
  const moved = moves.reduce((sum, move) => sum + move.bits_per_s, 0);
  said.push(moves.length ? `${bits(moved)} would move, of ${count(clients)} clients in the last ${span / 60} minutes.`
    : `Nothing would move: no client of the last ${span / 60} minutes is there.`);
  for (const move of moves.slice(0, MOST)) said.push(`${nobody(move.from)} → ${nobody(move.to)}: ${bits(move.bits_per_s)}`);
  if (moves.length > MOST) said.push(`and ${moves.length - MOST} more`);
  return said;
}

// What it was reckoned with, and what it does not know.
export function tellLimits({policies, limits}) {
  return [...(policies.length ? [`Policies in force: ${policies.join(', ')}.`] : []), ...limits.map((each) => `${each[0].toUpperCase()}${each.slice(1)}.`)];
}

export function showOutlook(place, name, found) {
  const isBad = found.uncovered_networks > 0 || found.overloaded.length > 0 || found.unserved.some(loses);
  const [first, ...others] = tellOutlook(found);
  const table = document.createElement('table');
  table.setAttribute('aria-labelledby', 'what-if-title');
  fill(table, ['appliance', number('now'), number('then'), number('can take')],
    found.appliances.map((each) => [each.id, number(bits(each.before_bits_per_s)),
      {text: bits(each.after_bits_per_s), kind: each.overloaded ? 'number error' : 'number'},
      number(each.total_bits_per_s === null ? 'unknown' : bits(each.total_bits_per_s))]),
    'no client has asked of late');
  const limits = list(tellLimits(found));
  limits.className = 'limits';
  place.replaceChildren(paragraph(`Without ${name}: ${first}`, isBad ? 'error' : 'ok'), list(others), table, limits);
}

export function showTaken(table, networks) {
  fill(table, ['network', number('expected'), 'by'], networks.map((each) => [each.network,
    number(bits(each.bits_per_s)),
    each.servers.length ? each.servers.map(({server, share}) => share === 1 ? server : `${server} ${percent(share)}`).join(', ')
      : {text: 'nobody', kind: 'error'}]), 'no client has asked of late');
}
