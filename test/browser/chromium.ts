/**
 * A real Chromium for tests.
 */
import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';

const PROGRAM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts Chromium. The caller closes it. */
export async function launchChromium(): Promise<Browser> {
  if (!existsSync(PROGRAM)) {
    throw new Error(
      `there is no ${PROGRAM}: apt-get update && apt-get install -y --no-install-recommends chromium`,
    );
  }
  return await chromium.launch({ executablePath: PROGRAM, headless: true, args: FLAGS });
}

/** What a document did that it should not have done. */
export interface Misdeeds {
  readonly dialogs: string[];
  readonly requests: string[];
  readonly errors: string[];
  /** What the document's own policy stopped. */
  violations(): Promise<string[]>;
  /** Whether a program of somebody else has run: such programs set `window.canary`. */
  canary(): Promise<boolean>;
}

/** Watches a page from before it is opened. */
export async function watch(page: Page): Promise<Misdeeds> {
  const [dialogs, requests, errors]: [string[], string[], string[]] = [[], [], []];
  page.on('dialog', async (dialog) => {
    dialogs.push(dialog.message());
    await dialog.dismiss();
  });
  page.on('request', (request) => {
    if (!request.isNavigationRequest()) requests.push(request.url());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.addInitScript(`
    window.violations = [];
    addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective), true);
  `);
  return {
    dialogs,
    requests,
    errors,
    violations: () => page.evaluate('window.violations'),
    canary: () => page.evaluate("'canary' in window"),
  };
}

/** Waits until a report has drawn its picture. */
export async function opened(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.locator('html[data-ready] #picture svg').waitFor();
}
