/** What a user should know about how a dataset was read, in sentences. */

import { basename } from 'node:path';
import type { Layout } from './parse-row.ts';
import type { TokenFileSummary } from './tokenise-dataset.ts';

const MEANING: Readonly<Record<Layout, string>> = {
  'input_ids': 'token ids as they are',
  'messages': 'conversations, the loss is on what the assistant says',
  'conversations': 'ShareGPT conversations, the loss is on what the assistant says',
  'prompt/completion': 'prompts and completions, the loss is on the completions',
  'instruction/output': 'instructions in the Alpaca prompt, the loss is on the outputs',
  'text': 'text, the loss is on every token',
};

export function dataNotices(
  datasetPath: string, { counts, layout, unusedColumns, eosId, endOfTurnIds, chatTemplate }: TokenFileSummary,
  settings: { readonly longestTokens: number; readonly chatTemplate: string | undefined },
): readonly string[] {
  const name = basename(datasetPath);
  const notices: string[] = [];
  if (layout !== null) notices.push(`${name}: ${MEANING[layout]}`);
  if (unusedColumns.length > 0) {
    notices.push(`${name}: ${unusedColumns.length === 1 ? 'this column is' : 'these columns are'} not used: ${unusedColumns.join(', ')}`);
  }
  if (counts.cut > 0) {
    const share = (100 * counts.cutTokens) / (counts.tokens + counts.cutTokens);
    notices.push(
      `${name}: ${counts.cut} of ${counts.rows} rows are cut to ${settings.longestTokens} tokens; ` +
      `${counts.cutTokens} tokens (${share.toFixed(1)} %) are not seen`,
    );
  }
  if (counts.split > 0) {
    const what = layout === 'text' ? 'documents' : 'rows';
    const parts = `parts of at most ${settings.longestTokens} tokens`;
    notices.push(`${name}: ${counts.split} of ${counts.rows} ${what} are split into ${parts} (overlong: split)`);
  }
  if (counts.untrained > 0) notices.push(`${name}: ${counts.untrained} documents have no token to learn and are left out`);
  if (eosId === null && layout !== 'input_ids') notices.push(`${name}: the tokenizer has no EOS token, so texts do not end with one`);
  if (chatTemplate !== null && layout !== null && !CONVERSATIONS.includes(layout)) {
    notices.push(`${name}: chat_template ${settings.chatTemplate ?? ''} is not used, the rows are no conversations`);
  }
  if ((layout === 'messages' || layout === 'conversations') && endOfTurnIds.length === 0) {
    notices.push(`${name}: the chat template ends the assistant's turns with no token of their own, so generation will not know where to stop`);
  }
  return notices;
}

const CONVERSATIONS: readonly Layout[] = ['messages', 'conversations', 'prompt/completion'];
