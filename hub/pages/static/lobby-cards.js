/** How the lobby shows a match: a card while it is live, a line before and after. */

import { el, flash, setAttr, setText, setVar } from './dom.js';
import { isOver, pageOf, standing } from './facts.js';
import { colours } from './teams.js';
import { clock, code, title, until, when } from './words.js';

/** @typedef {import('./facts.js').Match} Match */

const SIDES_ON_CARD = 3;

/** @param {Match} match Sides in the order in which they are shown. */
function sides(match) {
  const all = match.competitors;
  const hues = colours(all.map((each) => each.id));
  const rows = all.map((each, i) => ({
    id: each.id,
    name: each.name || title(each.id),
    hue: hues[i],
    score: match.scores?.[each.id],
    won: isOver(match) && match.winner_id === each.id,
    lost: isOver(match) && !!match.winner_id && match.winner_id !== each.id,
  }));
  if (rows.length > 2) rows.sort((a, b) => (b.score ?? 0) - (a.score ?? 0));
  return rows;
}

/** @param {Match} match */
function heading(match) {
  return [match.title && match.title !== match.game ? match.title : '', title(match.tournament_id), match.round]
    .filter(Boolean).join(' · ') || title(match.game);
}

/** @param {Match} match */
function bestOf(match) {
  return match.best_of && match.best_of > 1 ? `Best of ${match.best_of}` : '';
}

/** @param {Match} match */
function spoken(match) {
  const names = match.competitors.map((each) => each.name || each.id);
  return `${names.join(' against ')}, ${standing(match).word}`;
}

/** @param {any} row One side's row on a card: emblem, name, score. */
function sideRow() {
  const emblem = el('span', { class: 'emblem', 'aria-hidden': 'true' });
  const name = el('span', { class: 'name' });
  const score = el('span', { class: 'score' });
  return Object.assign(el('div', { class: 'side' }, emblem, name, score), { emblem, name, score });
}

/** @param {any} row @param {ReturnType<typeof sides>[0]} side @param {boolean} leads */
function showSide(row, side, leads) {
  setVar(row, '--team', side.hue);
  setText(row.emblem, code(side.name));
  setText(row.name, side.name);
  const had = row.score.textContent;
  const same = row.sideId === side.id;
  row.sideId = side.id;
  if (setText(row.score, side.score ?? '–') && same && had !== '' && had !== '–') flash(row.score);
  row.classList.toggle('leads', leads);
  row.classList.toggle('won', side.won);
  row.classList.toggle('lost', side.lost);
}

/** @returns {any} A card for a live match. */
export function makeCard() {
  const flag = el('span', { class: 'flag' });
  const where = el('span', { class: 'where' });
  const time = el('span', { class: 'time' });
  const rows = el('div', { class: 'sides' });
  const detail = el('span', { class: 'detail' });
  const of = el('span', { class: 'of' });
  const card = el('a', { class: 'card' }, el('div', { class: 'upper' }, flag, where, time), rows,
    el('div', { class: 'lower' }, detail, of));
  return Object.assign(card, { parts: { flag, where, time, rows, detail, of } });
}

/** @param {any} card @param {Match} match */
export function showCard(card, match) {
  const { flag, where, rows, detail, of } = card.parts;
  const { live, word } = standing(match);
  card.match = match;
  setAttr(card, 'href', pageOf(match.match_id));
  setAttr(card, 'aria-label', spoken(match));
  card.classList.toggle('over', !live);
  setText(flag, word);
  setText(where, heading(match));
  const all = sides(match);
  const shown = all.slice(0, SIDES_ON_CARD);
  while (rows.children.length < shown.length) rows.append(sideRow());
  while (rows.children.length > shown.length) rows.lastElementChild.remove();
  setVar(card, '--a', all[0].hue);
  setVar(card, '--b', all[1]?.hue ?? all[0].hue);
  const top = Math.max(...all.map((side) => side.score ?? -Infinity));
  const alone = all.filter((side) => side.score === top).length === 1;
  shown.forEach((side, i) => showSide(rows.children[i], side, alone && side.score === top));
  const rest = all.length - shown.length;
  setText(detail, match.detail || (rest > 0 ? `and ${rest} more` : title(match.game)));
  setText(of, bestOf(match));
  tickCard(card, Date.now());
}

/** The card's clock. @param {any} card @param {number} now */
export function tickCard(card, now) {
  const { match, parts } = card;
  const started = Date.parse(match.started_at ?? '');
  const shown = match.status === 'LIVE' && Number.isFinite(started) && now >= started
    && now - started < 24 * 3_600_000;
  setText(parts.time, shown ? clock(now - started) : '');
}

/** @returns {any} A line for a match that is not live. */
export function makeLine() {
  const time = el('span', { class: 'at' });
  const day = el('span', { class: 'day' });
  const [a, b] = [sideRow(), sideRow()];
  const note = el('span', { class: 'note' });
  const line = el('a', { class: 'line' }, el('span', { class: 'when' }, time, day),
    el('span', { class: 'pair' }, a, b), note);
  return Object.assign(line, { parts: { time, day, a, b, note } });
}

/** @param {any} line @param {Match} match */
export function showLine(line, match) {
  const { a, b, note } = line.parts;
  const { over, word } = standing(match);
  line.match = match;
  setAttr(line, 'href', pageOf(match.match_id));
  setAttr(line, 'aria-label', `${spoken(match)}, ${heading(match)}`);
  const all = sides(match);
  showSide(a, all[0], false);
  if (all.length === 2) showSide(b, all[1], false);
  else {
    setText(b.emblem, `+${all.length - 1}`);
    setText(b.name, all.length > 2 ? `${all.length - 1} others` : 'to be decided');
    setText(b.score, '');
  }
  line.classList.toggle('over', over);
  line.classList.toggle('odd', over && match.status !== 'COMPLETED');
  const odd = over && match.status !== 'COMPLETED' ? word : match.outcome === 'draw' ? 'Draw' : '';
  setText(note, [odd, heading(match), over ? '' : bestOf(match)].filter(Boolean).join(' · '));
  tickLine(line, Date.now());
}

/** @param {any} line @param {number} now */
export function tickLine(line, now) {
  const { match, parts } = line;
  const at = isOver(match) ? match.played_at ?? match.started_at ?? match.starts_at : match.starts_at;
  const { time, day } = when(at, now);
  setText(parts.time, at ? time : 'TBA');
  const soon = Date.parse(match.starts_at ?? '') - now;
  const near = match.status === 'SCHEDULED' && soon < 6 * 3_600_000 && soon > -3_600_000;
  setText(parts.day, near ? until(soon) : day);
}
