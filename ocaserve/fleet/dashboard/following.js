// Looking again and again at one document of the control plane, with a token where one is needed.
import {ask, authorization, forgetToken} from './asking.js';

const $ = (id) => document.getElementById(id);

export function tell(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

// Have `show` show what the document at the path says. Whether to go on.
export async function look(path, show) {
  const answer = await fetch(path, {headers: authorization(), cache: 'no-store'});
  if (answer.status === 401 || answer.status === 403) {
    const hadToken = 'Authorization' in authorization();
    forgetToken();
    return ask({
      question: 'A token is needed to look', consequence: 'This address is not the control plane itself.', verb: 'Look',
      role: 'read', fault: hadToken ? 'The last one was not one of this control plane.' : '', act: async () => {},
    });
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  await show(await answer.json());
  tell('');
  return true;
}

// away: what is said while there is no answer.
export async function lookForEver(path, show, everyMs, away) {
  for (;;) {
    try {
      if (!await look(path, show)) {
        tell('Nothing is shown without a token. Load the page again to give one.');
        return;
      }
    } catch (error) {
      tell(away(error));
      $('state').className = 'badge quiet';
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
