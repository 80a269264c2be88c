// Compiles lib/ into dist/, afresh: nothing of an earlier build is left behind.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
rmSync(join(root, 'dist'), { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
})
if (status !== 0) process.exit(status ?? 1)
chmodSync(join(root, 'dist', 'cli', 'main.js'), 0o755)
cpSync(join(root, 'lib', 'redis', 'scripts'), join(root, 'dist', 'redis', 'scripts'), { recursive: true })
