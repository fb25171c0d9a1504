/** `fulltune generate --model DIR --prompt TEXT`: the answer, streamed to standard output. */

import type { ConfigKey } from '../run/config-schema.ts';
import { numberFlag } from './checked-flags.ts';
import { addConfigFlags, configFromFlags } from './config-flags.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import type { ConfigureVerb } from './verb.ts';

const KEYS = ['seed', 'device', 'threads'] as const satisfies readonly ConfigKey[];

interface GenerateFlags {
  readonly model: string;
  readonly prompt: string;
  readonly chat?: true;
  readonly maxNewTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
}

export const configureGenerate: ConfigureVerb = (command, { terminal, loadEngine }, run) => {
  addConfigFlags(
    command
      .requiredOption('--model <text>', 'folder in Hugging Face format, or the id of a model in the local Hugging Face cache')
      .requiredOption('--prompt <text>', 'what the model continues, or with --chat answers'),
    KEYS,
  )
    .option('--chat', 'the prompt is a message from the user: goes through the chat template of the model')
    .option('--max-new-tokens <n>', 'longest answer (default: 256)', numberFlag({ least: 1, most: 1_048_576, whole: true }))
    .option('--temperature <x>', 'higher is more random; 0 takes the likeliest token (default: as generation_config.json says, else 0)', numberFlag({ least: 0, most: 100 }))
    .option('--top-p <x>', 'draw from the likeliest tokens that hold this share (default: 1)', numberFlag({ least: 0, most: 1, aboveLeast: true }))
    .action(() => run(async () => {
      const { model: path, prompt, chat, maxNewTokens, temperature, topP } = command.opts<GenerateFlags>();
      const { seed, device, threads } = configFromFlags(command, KEYS);
      const { loadModel } = await loadEngine();
      return withInterrupt(async (signal) => {
        await using model = await loadModel(path, { ...(device === undefined ? {} : { device }), ...(threads === undefined ? {} : { threads }) });
        if (terminal.live && chat !== true) terminal.write(terminal.paint.apply('dim', prompt));
        try {
          const text = model.generate(chat === true ? [{ role: 'user', content: prompt }] : prompt, {
            signal,
            ...(maxNewTokens === undefined ? {} : { maxNewTokens }),
            ...(temperature === undefined ? {} : { temperature }),
            ...(topP === undefined ? {} : { topP }),
            ...(seed === undefined ? {} : { seed }),
          });
          for await (const piece of text) terminal.write(piece);
        } catch (error) {
          if (!isInterruption(error, signal)) throw error;
        }
        terminal.write('\n');
        return signal.aborted ? INTERRUPTED : 0;
      }, { onFirst: () => undefined });
    }));
};
