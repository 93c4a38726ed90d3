// Throughput over time, with axes. Values may be null: nothing was measured then.
import {bits} from './format.js';

const SPACE = {left: 66, right: 8, top: 8, bottom: 22};
const NAMES = 'http://www.w3.org/2000/svg';

function shape(name, attributes, text) {
  const made = document.createElementNS(NAMES, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// The least of 1, 2, 5 times a power of ten with which four steps reach the top.
function stepFor(top) {
  const power = 10 ** Math.floor(Math.log10(top / 4));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step * 4 >= top);
}

const hour = (time) => new Date(time).toISOString().slice(11, 16);

// start: of the first value, in ms. step: from one value to the next, in ms. tick: between two
// times on the axis, in ms. end: where the axis ends. label: how a time there is written.
// mark: {value, text} of a line across, if there is to be one.
export function draw(svg, {values, start, step, tick, from, end, label = hour, mark = null}) {
  const {width, height} = svg.getBoundingClientRect();
  if (!width) return;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const known = values.filter((value) => value !== null);
  const rise = stepFor(known.reduce((most, value) => Math.max(most, value), 1000));
  const top = rise * 4;
  const x = (time) => SPACE.left + (time - from) / (end - from) * (width - SPACE.left - SPACE.right);
  const y = (value) => height - SPACE.bottom - value / top * (height - SPACE.top - SPACE.bottom);
  const drawn = [];
  for (let value = 0; value <= top; value += rise) {
    drawn.push(shape('line', {class: 'grid', x1: SPACE.left, x2: width - SPACE.right, y1: y(value), y2: y(value)}));
    drawn.push(shape('text', {x: SPACE.left - 6, y: y(value) + 4, 'text-anchor': 'end'}, value ? bits(value) : '0'));
  }
  const every = tick * Math.max(1, Math.ceil((end - from) / tick * 52 / (width - SPACE.left)));
  for (let time = Math.ceil(from / every) * every; time <= end; time += every) {
    drawn.push(shape('text', {x: x(time), y: height - 6, 'text-anchor': 'middle'}, label(time)));
  }
  drawn.push(...lines(values, (n) => x(start + n * step), y));
  if (mark) {
    drawn.push(shape('line', {class: 'mark', x1: SPACE.left, x2: width - SPACE.right, y1: y(mark.value), y2: y(mark.value)}));
    drawn.push(shape('text', {class: 'mark', x: width - SPACE.right, y: y(mark.value) - 4, 'text-anchor': 'end'}, mark.text));
  }
  svg.replaceChildren(...drawn);
}

// A line and its area for each run of values without a gap.
function* lines(values, x, y) {
  let run = [];
  for (let n = 0; n <= values.length; n += 1) {
    const value = n < values.length ? values[n] : null;
    if (value !== null) {
      run.push(`${x(n).toFixed(1)},${y(value).toFixed(1)}`);
    } else if (run.length) {
      const [first, last] = [run[0].split(',')[0], run[run.length - 1].split(',')[0]];
      yield shape('path', {class: 'area', d: `M${first},${y(0)}L${run.join('L')}L${last},${y(0)}Z`});
      yield shape('path', {class: 'line', d: `M${run.join('L')}`});
      if (run.length === 1) {
        const [cx, cy] = run[0].split(',');
        yield shape('circle', {class: 'point', cx, cy, r: 2.5});
      }
      run = [];
    }
  }
}
