// The page of policies: what is in force, who brought it, how trials fare, and what costs and fails.
import {ask, call, setWords} from './asking.js';
import {look, lookForEver} from './following.js';
import {count, moment, percent} from './format.js';
import {fill, number} from './tables.js';

const $ = (id) => document.getElementById(id);
const DOCUMENT = '/v1/policies';
const EVERY_MS = 2000;
let now = null;
let shown = '';

setWords({
  away: 'The control plane does not answer. What is in force stays in force.',
  help: (role) => `It stands in the control plane's settings, under fleet.tokens.${role}.`,
});

// What may be done with a release, by its state: [verb, path, what follows].
const STEPS = {
  checked: [['Shadow', 'shadow', 'It is asked beside what is in force; clients notice nothing.']],
  shadow: [['Canary', 'canary', 'It is in force for 5 % of the client networks, and judged after ten minutes.']],
  canary: [['Promote', 'promote', 'It is in force for all clients, at all instances within a second.']],
};
const BACK = ['Roll back', 'rollback', 'What was in force before is again, at all instances within a second.'];
const CAN_GO_BACK = ['draft', 'checked', 'shadow', 'canary', 'live'];

const names = (release) => Object.keys(release.policies).sort().join(', ');
const at = (seconds) => seconds ? moment(seconds * 1000) : '';
const share = (part, whole) => whole ? percent(part / whole) : '–';
const wrap = (text, kind = '') => ({text, kind: `wrap ${kind}`});

function showHead() {
  const off = now.costs.filter((each) => each.switched_off);
  const failing = now.costs.filter((each) => each.faults);
  $('state').textContent = now.fault ? 'releases cannot be read' : `${now.in_force.length} in force`;
  $('state').className = `badge ${now.fault || off.length ? 'error' : failing.length ? 'warning' : 'ok'}`;
  $('why').textContent = now.fault || off.map((each) => `${each.name}: ${each.switched_off}`).join('; ');
}

function showArms() {
  const canary = now.canary;
  $('canary-about').textContent = canary ? `release ${canary.release}` : '';
  fill($('canary'), ['clients', number('sessions'), number('left a server'), number('decisions'), number('had nobody')],
    !canary ? [] : [['canary', canary.canary], ['rest', canary.rest]].map(([name, arm]) => [name,
      number(count(arm.sessions)), number(share(arm.failed, arm.sessions)), number(count(arm.decisions)),
      number(share(arm.unserved, arm.decisions))]).concat([['evidence that it is worse',
      {text: `${canary.evidence} of ${canary.enough}`, kind: `number ${canary.evidence > canary.enough / 10 ? 'warning' : ''}`}, '', '', '']]),
    'No release is a canary.');
}

function* shadowRows() {
  for (const each of now.shadows) {
    yield [`release ${each.release}`, number(count(each.compared)), number(share(each.moved, each.compared)),
      {text: share(each.unserved, each.compared), kind: `number ${each.unserved ? 'error' : ''}`}];
    for (const move of each.moves) yield [`${move.from} → ${move.to}`, '', number(share(move.decisions, each.compared)), ''];
  }
}

function button(verb, release, act) {
  const made = Object.assign(document.createElement('button'), {type: 'button', textContent: verb});
  made.setAttribute('aria-label', `${verb}: release ${release.release}`);
  made.addEventListener('click', act);
  return made;
}

function buttons(release) {
  const made = document.createDocumentFragment();
  made.append(button('Show', release, () => showDetail(release)));
  const steps = [...(STEPS[release.state] || []), ...(CAN_GO_BACK.includes(release.state) ? [BACK] : [])];
  for (const [verb, path, consequence] of steps) {
    made.append(' ', button(`${verb} …`, release, () => step(release, verb, path, consequence)));
  }
  return made;
}

async function showDetail(release) {
  $('detail').hidden = false;
  $('detail-title').textContent = `Release ${release.release}`;
  try {
    const {texts, faults} = await call('GET', `/v1/policies/${release.release}`);
    const files = Object.values(texts).flatMap((each) => Object.entries(each));
    $('text').textContent = [...faults, ...files.map(([file, text]) => `${file}\n\n${text}`)].join('\n\n');
  } catch (error) {
    $('text').textContent = error.message;
  }
  $('detail').scrollIntoView({block: 'nearest', behavior: 'smooth'});
}

async function step(release, verb, path, consequence) {
  const fields = path === 'rollback' ? {reason: ''} : {};
  await ask({
    question: `${verb} release ${release.release} (${names(release)})?`, consequence, verb, role: 'operate', fields,
    act: ({reason}) => call('POST', `/v1/policies/${release.release}/${path}`,
      {by: 'dashboard', ...(path === 'rollback' ? {reason} : {})}),
  });
  look(DOCUMENT, show).catch(() => {});
}

function show(found) {
  now = found;
  showHead();
  fill($('live'), ['policy', 'version', number('release'), 'by', 'since'], now.in_force.map((each) =>
    [each.name, each.version.slice(0, 12), number(each.release), wrap(each.by || '–'), at(each.since)]),
    'No policy is in force: the built-in rule decides.');
  fill($('cost'), ['policy', number('from memory'), number('asked'), number('late'), number('faults'), number('mean'), 'last fault'],
    now.costs.map((each) => [`${each.name}@${each.version.slice(0, 8)}`, number(count(each.from_memory)), number(count(each.asked)),
      number(count(each.late)), {text: count(each.faults), kind: `number ${each.faults ? 'error' : ''}`},
      number(`${each.mean_us.toFixed(0)} µs`), wrap(each.switched_off || each.last_fault, 'error')]), 'None has been asked yet.');
  showArms();
  fill($('shadow'), ['release, from → to', number('compared'), number('moved'), number('nobody left')], [...shadowRows()],
    'No release is in shadow.');
  const text = JSON.stringify(now.releases);
  if (text === shown) return;  // a button is not to go from under a finger
  shown = text;
  fill($('releases'), [number('release'), 'policies', 'state', 'since', 'until', 'by', 'why', ''], now.releases.map((each) =>
    [each.release, wrap(names(each)), {text: each.state, kind: each.state === 'rolled back' ? 'error' : each.state === 'live' ? 'ok' : ''},
      at(each.since), at(each.until), wrap(each.by || '–'), wrap(each.why || each.note), buttons(each)]), 'None has been handed in yet.');
}

lookForEver(DOCUMENT, show, EVERY_MS, () => 'The control plane does not answer; trying again. What is in force stays in force.');
