/** `fulltune eval --model DIR --dataset FILE`: the loss of a model under the rules that training uses. */

import { formatTable } from '../base/table.ts';
import type { ConfigKey } from '../run/config-schema.ts';
import { parseConfig } from '../run/config-schema.ts';
import { numberFlag } from './checked-flags.ts';
import { addConfigFlags, configFromFlags } from './config-flags.ts';
import { INTERRUPTED, withInterrupt } from './interrupt.ts';
import { renderNotices } from './memory-view.ts';
import { formatCount, formatDuration } from './numbers.ts';
import { aliasTeller } from './run-config.ts';
import type { ConfigureVerb } from './verb.ts';

const KEYS = ['model', 'dataset', 'max_length', 'packing', 'train_on_inputs', 'chat_template', 'device', 'threads'] as const satisfies readonly ConfigKey[];

interface EvalFlags {
  readonly batchSize?: number;
  readonly json?: true;
}

export const configureEval: ConfigureVerb = (command, { terminal, loadEngine }, run) => {
  addConfigFlags(command, KEYS)
    .option('--batch-size <n>', 'rows at a time (default: 4)', numberFlag({ least: 1, most: 65_536, whole: true }))
    .option('--json', 'the result as one JSON object on standard output')
    .action(() => run(async () => {
      const { batchSize, json } = command.opts<EvalFlags>();
      const config = parseConfig(configFromFlags(command, KEYS, aliasTeller(terminal)), 'flags');
      const { loadModel } = await loadEngine();
      return withInterrupt(async (signal) => {
        await using model = await loadModel(config.model, {
          ...(config.device === undefined ? {} : { device: config.device }),
          ...(config.threads === undefined ? {} : { threads: config.threads }),
        });
        const evaluation = model.evaluate({
          dataset: config.dataset, signal,
          ...(config.max_length === undefined ? {} : { maxLength: config.max_length }),
          ...(config.packing === undefined ? {} : { packing: config.packing }),
          ...(config.train_on_inputs === undefined ? {} : { trainOnInputs: config.train_on_inputs }),
          ...(config.chat_template === undefined ? {} : { chatTemplate: config.chat_template }),
          ...(batchSize === undefined ? {} : { batchSize }),
        });
        const result = await evaluation.catch((error: unknown) => {
          if (signal.aborted) return undefined;
          throw error;
        });
        if (result === undefined) return INTERRUPTED;
        const { loss, perplexity, tokens, documents, seconds, notices } = result;
        if (json === true) terminal.write(`${JSON.stringify(result)}\n`);
        else {
          const facts = [
            ['loss', `${loss.toFixed(6)} nats per token`],
            ['perplexity', perplexity.toPrecision(6)],
            ['tokens', `${formatCount(tokens)} of ${formatCount(documents)} documents`],
            ['time', formatDuration(seconds)],
          ];
          terminal.write([...(notices.length > 0 ? [renderNotices(notices, terminal.paint)] : []), formatTable(facts), ''].join('\n'));
        }
        return 0;
      }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
    }));
};
