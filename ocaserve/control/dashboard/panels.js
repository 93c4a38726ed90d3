// Each panel from what the appliance tells: see GET /v1/dashboard.
import {bits, bytes, count, moment, percent} from './format.js';
import {fill, number} from './tables.js';

const $ = (id) => document.getElementById(id);
const level = (word, text = word) => ({text, kind: word});

export function showHead(now) {
  const {status, health} = now;
  document.title = `${status.id}: ${status.state}`;
  $('name').textContent = status.id;
  $('about').textContent = [status.site, `ocaserve ${status.version}`, status.listen.join(', '),
    `${status.state} since ${moment(status.since)} UTC`].filter(Boolean).join(' · ');
  const isRefusing = status.state === 'serving' && !status.takes_traffic;
  const more = status.reason ? `: ${status.reason}` : isRefusing ? `, takes no traffic: ${status.why}` : '';
  $('state').textContent = status.state + more;
  $('state').className = `badge ${status.takes_traffic ? health.level : 'error'}`;
  $('why').textContent = health.reasons.join('; ');
  $('why').className = health.level;
  showDrain(status);
  $('duty').textContent = status.state === 'serving' ? 'Drain …' : 'Enable …';
  for (const id of ['duty', 'plan', 'reload']) $(id).hidden = false;
}

// A drain's times: when it ends by itself, and when new requests are turned away.
function showDrain({drain_until: until, drain_deadline: deadline}) {
  const said = [];
  if (until) said.push(`ends by itself ${moment(until)} UTC`);
  if (deadline) said.push(`turns new requests away from ${moment(deadline)} UTC on`);
  $('drain').textContent = said.join(', ');
  $('drain').hidden = !said.length;
}

export function showFigures({status, capacity, bytes: sent}) {
  $('rate').textContent = bits(status.bits_per_s);
  $('connections').textContent = count(status.connections);
  $('requests').textContent = count(Math.round(status.requests_per_s));
  $('serving').textContent = `${status.workers.serving} of ${status.workers.wanted}`;
  const {free_bits_per_s: free, total_bits_per_s: total, limited_by: limit} = capacity;
  $('capacity').textContent = free === null ? 'unknown' : bits(free);
  $('limit').textContent = free === null ? 'still free: nothing known bounds it'
    : `still free${total === null ? '' : ` of ${bits(total)}`}, bound by ${limit}`;
  const whole = Object.values(sent).reduce((sum, each) => sum + each, 0);
  $('hot').textContent = whole ? percent(1 - sent.sendfile_cold / whole) : '–';
}

export function showTables(now) {
  fill($('health'), null, now.health.components.map((each) =>
    [each.name, level(each.level), each.reason]));
  fill($('workers'), ['pid', 'state', number('connections'), number('loop late')],
    now.workers.map((each) => [each.pid, each.state, number(count(each.connections)),
      number(`${(each.loop_lag_s * 1000).toFixed(0)} ms`)]));
  fill($('stores'), ['path', 'state', number('free'), number('sent')],
    now.stores.map((each) => [each.path,
      level(each.level || 'quiet', each.reason || each.level || 'unknown'),
      number(each.size_bytes ? `${bytes(each.free_bytes)} of ${bytes(each.size_bytes)}` : ''),
      number(bytes(each.bytes))]));
  fill($('history'), ['UTC', 'of', 'what'], now.history.map((each) =>
    [{text: moment(each.at), kind: 'time'}, each.kind, level(each.level, each.text)]), 'nothing yet');
  fill($('answers'), null, [
    ...Object.entries(now.responses).map(([name, n]) => [name, number(count(n))]),
    ...Object.entries(now.bytes).map(([name, n]) => [name.replace('_', ', '), number(bytes(n))])]);
  fill($('closed'), null, now.closed.map((each) =>
    [level(each.is_error ? 'warning' : '', each.reason), number(count(each.count)), each.meaning]));
  fill($('queues'), ['queue', number('ready'), number('oldest'), number('delayed'), number('held'), number('buried')],
    Object.entries(now.queues).map(([name, each]) => [name, number(count(each.ready)),
      number(each.oldest_ready_s === null ? '' : `${each.oldest_ready_s.toFixed(0)} s`),
      number(count(each.delayed)), number(count(each.held)),
      {text: count(each.buried), kind: each.buried ? 'number warning' : 'number'}]));
  showContent(now.fill);
  showNetworks(now.ledger);
  showPeers(now.routes);
}

// Content that arrives by itself: how far it is, from where, and what waits for what.
function showContent(now) {
  if (!now) {
    $('content-state').textContent = '';
    fill($('content'), null, [], 'Nothing is fetched ([fill]).');
    return;
  }
  const {here, wanted} = now;
  const tiers = Object.entries(now.received).map(([tier, n]) => `${bytes(n)} from ${tier}`).join(', ');
  $('content-state').textContent = now.why ? `${now.state}: ${now.why}` : now.state;
  const part = (name, each, kind = '') =>
    [level(kind, name), number(count(each.objects)), number(bytes(each.bytes))];
  fill($('content'), ['content', number('objects'), number('bytes')], [
    part(`here, of ${count(wanted.objects)} in manifest ${now.manifest || '(none yet)'}`, here),
    part(`missing${now.ends ? `, done ${moment(now.ends)} UTC` : ''}`, now.missing),
    ...(tiers ? [[tiers, number(''), number(now.bits_per_s ? bits(now.bits_per_s) : '')]] : []),
    ...now.doing.slice(0, 6).map((each) => [`fetching ${each.key}`, number(
      percent(each.size ? each.bytes_done / each.size : 1)), number(bytes(each.size))]),
    ...now.waiting.slice(0, 4).map((each) => part(`waits: ${each.why}`, each)),
    ...now.postponed.slice(0, 4).map((each) => part(`tried: ${each.why}`, each, 'warning')),
    ...Object.entries(now.lost).map(([store, why]) =>
      [level('warning', `${store} takes nothing: ${why}`), number(''), number('')]),
    ...now.dropped.slice(0, 4).map((each) =>
      [level('warning', `left alone for ${each.for_s.toFixed(0)} s: ${each.origin}, ${each.why}`), number(''), number('')]),
  ]);
}

function showNetworks(ledger) {
  if (!ledger) {
    fill($('ledger'), null, [], 'No ledger is kept (ledger.is_kept).');
    return;
  }
  const isRouted = Object.keys(ledger.routes).length > 0;
  fill($('ledger'),
    ['network', ...(isRouted ? ['route'] : []), number('sent'), number('share'), number('95th percentile')],
    ledger.networks.map((each) => [each.network, ...(isRouted ? [ledger.routes[each.network]] : []),
      number(bytes(each.bytes)), number(percent(each.share)), number(bits(each.p95_bits_per_s))]),
    'nothing was sent');
}

function showPeers(routes) {
  if (!routes) {
    fill($('peers'), null, [], 'No router is configured ([[bgp.neighbor]]).');
    return;
  }
  fill($('peers'), ['router', 'session', number('routes'), 'families, filtered'],
    routes.peers.map((peer) => [peer.address,
      level(peer.state === 'up' ? 'ok' : 'error', peer.state),
      number(count(Object.values(peer.families).reduce((sum, each) => sum + each.accepted, 0))),
      Object.entries(peer.families).flatMap(([name, each]) =>
        [`${name} ${each.state}`, ...Object.entries(each.filtered).map(([why, n]) => `${count(n)} ${why}`)])
        .join(', ')]));
}

export function showWindows(windows, cancel) {
  const rows = windows.map((each) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Cancel …';
    button.addEventListener('click', () => cancel(each));
    return [{text: moment(each.start), kind: 'time'}, {text: moment(each.end), kind: 'time'},
      each.has_begun ? level('warning', each.reason || 'running') : each.reason, button];
  });
  fill($('windows'), ['from, UTC', 'to', 'reason', ''], rows, 'none planned');
}

// The verdict of GET /v1/explain first, then its reasons.
export function showVerdict(found, {ip, object, steered_here: isHere, because}) {
  const verdict = document.createElement('p');
  verdict.className = `verdict ${isHere ? 'ok' : 'error'}`;
  const what = object ? ` for ${object}` : '';
  verdict.textContent = isHere ? `Yes: ${ip} is sent here${what}.` : `No: ${ip} is not sent here${what}.`;
  const list = document.createElement('ul');
  list.append(...because.map((reason) => {
    const item = document.createElement('li');
    item.textContent = reason;
    return item;
  }));
  found.replaceChildren(verdict, list);
}
