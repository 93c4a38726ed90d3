// The page of the control plane: asks every two seconds, and asks back before it changes anything.
import {ask, call, setWords} from './asking.js';
import {draw} from './chart.js';
import {look, lookForEver} from './following.js';
import {bits, count} from './format.js';
import {showExplanation, showOutlook, showTaken, tellLimits, tellOutlook} from './outcomes.js';
import {fill, number} from './tables.js';

const $ = (id) => document.getElementById(id);
const DOCUMENT = '/v1/dashboard';
const EVERY_MS = 2000;
const MINUTE = 60_000;
const HOUR = 60;  // minutes
let now = null;
let shownMembers = '';
let isPressed = false;  // a button is not to go from under a finger

setWords({
  away: 'The control plane does not answer. What was handed out goes on working.',
  help: (role) => `It stands in the control plane's settings, under fleet.tokens.${role}. Without one there, "ocaserve fleet" on its own machine may still do this.`,
});

// -- what is shown --------------------------------------------------------------------------------

function showHead() {
  const {status, members} = now;
  const away = members.filter(({appliance}) => !appliance.takes_clients);
  $('about').textContent = `ocaserve ${status.version} · ${count(status.networks)} networks in ${count(status.tables)} tables · ${count(status.sites)} sites`;
  $('state').textContent = `${status.taking_clients} of ${status.appliances} appliances take clients`;
  $('state').className = `badge ${!status.taking_clients ? 'error' : away.length ? 'warning' : 'ok'}`;
  $('why').textContent = away.slice(0, 4).map(({appliance}) => `${appliance.id}: ${appliance.fault}`).join('; ')
    + (away.length > 4 ? `; and ${away.length - 4} more` : '');
  $('why').className = away.length ? 'warning' : '';
  document.title = `fleet: ${status.taking_clients} of ${status.appliances}`;
}

function showFigures() {
  const minutes = `${now.span_s / 60} min`;
  $('rate').textContent = bits(now.bits_per_s);
  $('rate-label').textContent = `expected of them, ${minutes}`;
  $('clients').textContent = count(now.clients + now.not_recorded);
  $('clients-label').textContent = `clients asked, ${minutes}`;
  const free = now.members.filter(({appliance}) => appliance.takes_clients).map(({appliance}) => appliance.free_bits_per_s);
  $('free').textContent = !free.length ? '–' : free.includes(null) ? 'unknown' : bits(free.reduce((sum, each) => sum + each, 0));
  $('shed').textContent = bits(now.members.reduce((sum, each) => sum + each.shed_bits_per_s, 0));
  $('unserved').textContent = count(now.unserved_clients);
  $('unserved').className = `figure ${now.unserved_clients ? 'error' : ''}`;
  $('networks').textContent = count(now.status.networks);
}

function load({total_bits_per_s: total, free_bits_per_s: free}) {
  const made = document.createElement('div');
  made.className = 'load';
  const text = document.createElement('span');
  text.textContent = free === null ? 'unknown' : total === null ? `${bits(free)} free` : `${bits(free)} of ${bits(total)} free`;
  made.append(text);
  if (free !== null && total) {
    const bar = document.createElement('i');
    const used = document.createElement('b');
    used.style.width = `${Math.min(100, Math.max(0, 1 - free / total) * 100)}%`;
    if (free / total < 0.1) used.className = 'error';
    bar.append(used);
    made.append(bar);
  }
  return made;
}

function content(here, wanted) {
  if (here === null) return {text: now.content_everywhere ? 'all' : 'not told', kind: 'quiet'};
  return {text: `${count(here)} of ${count(wanted)}`, kind: here < wanted ? 'warning' : ''};
}

function button(text, what, act) {
  const made = Object.assign(document.createElement('button'), {type: 'button', textContent: text});
  made.setAttribute('aria-label', `${text.replace(' …', '')}: ${what}`);
  made.addEventListener('click', act);
  return made;
}

function buttons(name, lost, isDrained) {
  const made = document.createDocumentFragment();
  made.append(button('What if', name, () => foresee(name, lost)));
  made.append(isDrained ? button('Enable …', name, () => enable(name, lost)) : button('Drain …', name, () => drain(name, lost)));
  return made;
}

const HEAD = ['appliance', 'state', number('expected'), 'capacity', 'content', number('turned away'), number('networks'), number('heard'), ''];

function* memberRows() {
  const byId = new Map(now.members.map((each) => [each.appliance.id, each]));
  for (const site of now.sites) {
    const members = site.appliances.map((id) => byId.get(id)).filter(Boolean);
    const expected = members.reduce((sum, each) => sum + each.expected_bits_per_s, 0);
    const same = site.hears_the_same ? '' : '; its appliances hear different networks';
    yield {kind: 'site', cells: [site.id,
      {text: `${site.kind}, ${site.taking_clients} of ${site.appliances.length} take clients${same}`, kind: `wrap ${site.hears_the_same ? 'quiet' : 'warning'}`},
      number(bits(expected)), '', '', '', '', '',
      members.length ? buttons(site.id, {sites: [site.id]}, members.every((each) => each.drained)) : '']};
    for (const {appliance, expected_bits_per_s: rate, shed_bits_per_s: shed, drained, objects_here: here, objects_wanted: wanted} of members) {
      const failed = appliance.failed_checks.map(({check, why}) => `${check.replace('_', ' ')}: ${why}`).join('; ');
      const kind = appliance.takes_clients ? (appliance.level === 'ok' && !failed ? 'ok' : 'warning') : 'error';
      const state = appliance.fault || `${appliance.state}, ${appliance.level}`;
      yield {kind: '', cells: [appliance.id,
        {text: appliance.turn_up === 'commissioning' ? `commissioning: ${failed}` : [state, failed].filter(Boolean).join('; '), kind: `wrap ${kind}`},
        number(bits(rate)), load(appliance), content(here, wanted), {text: bits(shed), kind: shed ? 'number warning' : 'number'},
        number(count(appliance.networks)), number(`${appliance.age_s.toFixed(0)} s ago`),
        buttons(appliance.id, {appliances: [appliance.id]}, drained)]};
    }
  }
}

function showMembers() {
  const text = JSON.stringify([now.members, now.sites]);
  if (text === shownMembers || isPressed) return;
  shownMembers = text;
  const focused = $('members').contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
  const rows = [...memberRows()];
  fill($('members'), HEAD, rows.map((row) => row.cells), 'No appliance has reported yet.');
  if (!rows.length) return;
  [...$('members').rows].slice(1).forEach((row, place) => {
    row.className = rows[place].kind;
    [...row.querySelectorAll('td')].forEach((cell, column) => {
      const name = HEAD[column + 1];
      if ((name.text || name) && cell.textContent && !(rows[place].kind && column === 0)) cell.dataset.name = name.text || name;
    });
  });
  [...$('members').querySelectorAll('button')].find((each) => each.getAttribute('aria-label') === focused)?.focus();
  const names = [...now.sites.map((each) => each.id), ...now.members.map((each) => each.appliance.id)];
  $('known').replaceChildren(...names.map((name) => Object.assign(document.createElement('option'), {value: name})));
}

function showShed() {
  const last = Math.floor(Date.now() / MINUTE);
  const sums = new Map(now.shed.map(({start, appliances}) => [start / 60,
    appliances.reduce((sum, each) => sum + each.health_bits_per_s + each.content_bits_per_s + each.capacity_bits_per_s, 0)]));
  const values = Array.from({length: HOUR}, (_, place) => sums.get(last - HOUR + 1 + place) || 0);
  const peak = Math.max(...values);
  $('shed-peak').textContent = peak ? `at most ${bits(peak)} in a minute` : 'nothing';
  $('shed-chart').setAttribute('aria-label', `Turned away in the last hour: ${$('shed-peak').textContent}`);
  const start = (last - HOUR + 1) * MINUTE;
  draw($('shed-chart'), {values, start, step: MINUTE, from: start, end: last * MINUTE, tick: 10 * MINUTE});
  const rows = new Map();
  for (const {appliances} of now.shed) {
    for (const each of appliances) {
      const row = rows.get(each.appliance) || [0, 0, 0];
      rows.set(each.appliance, [row[0] + each.health_bits_per_s, row[1] + each.content_bits_per_s, row[2] + each.capacity_bits_per_s]);
    }
  }
  fill($('shed-table'), ['from', number('health'), number('content'), number('capacity')],
    [...rows].map(([name, row]) => [name, ...row.map((each) => number(bits(each)))]), 'Everybody went where they belong.');
}

const counts = (rows) => Object.entries(rows).sort().map(([name, n]) => [name.replaceAll('_', ' '), number(count(n))]);

function show(found) {
  now = found;
  showHead();
  showFigures();
  showMembers();
  showTaken($('taken'), now.networks);
  $('taken-count').textContent = now.network_count > now.networks.length ? `the largest of ${count(now.network_count)}` : '';
  $('content').textContent = now.content_everywhere ? 'each is taken to hold every object' : '';
  showShed();
  fill($('decisions'), null, counts(now.status.decisions), 'nobody has asked yet');
  fill($('documents'), null, counts(now.status.documents), 'none yet');
}

// -- asking and acting ----------------------------------------------------------------------------

async function foresee(name, lost) {
  try {
    showOutlook($('outlook'), name, await call('POST', '/v1/what-if', {lose: lost}));
  } catch (error) {
    $('outlook').textContent = error.message;
  }
  $('what-if-panel').scrollIntoView({block: 'nearest', behavior: 'smooth'});
}

async function drain(name, lost) {
  const moves = await call('POST', '/v1/what-if', {lose: lost})
    .then((found) => [...tellOutlook(found), ...tellLimits(found)], (error) => [error.message]);
  await ask({
    question: `Drain ${name}?`, consequence: ['Clients are sent elsewhere from the next answer on; who plays goes on.', ...moves].join('\n'),
    verb: 'Drain', role: 'operate', fields: {reason: ''},
    act: ({reason}) => call('POST', '/v1/drain', {...lost, reason: reason || 'from the dashboard'}),
  });
  lookNow();
}

async function enable(name, lost) {
  await ask({
    question: `Enable ${name}?`, consequence: 'Clients may be sent there again.', verb: 'Enable', role: 'operate',
    act: () => call('POST', '/v1/enable', lost),
  });
  lookNow();
}

function lookNow() {
  look(DOCUMENT, show).catch(() => {});  // it is looked again soon, and then said
}

function lostBy(name) {
  if (now.sites.some((each) => each.id === name)) return {sites: [name]};
  return name.includes('/') ? {prefixes: [name]} : {appliances: [name]};
}

$('what-if').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = $('lost').value.trim();
  foresee(name, lostBy(name));
});

$('lookup').addEventListener('submit', async (event) => {
  event.preventDefault();
  const query = new URLSearchParams({ip: $('address').value.trim(), key: $('object').value.trim()});
  try {
    showExplanation($('found'), await call('GET', `/v1/explain?${query}`));
  } catch (error) {
    $('found').textContent = error.message;
  }
});

$('members').addEventListener('pointerdown', () => { isPressed = true; });
for (const name of ['pointerup', 'pointercancel']) {
  document.addEventListener(name, () => setTimeout(() => { isPressed = false; }));
}
new ResizeObserver(() => now && showShed()).observe($('shed-chart'));
lookForEver(DOCUMENT, show, EVERY_MS,
  () => 'The control plane does not answer; trying again. What was handed out goes on working.');
