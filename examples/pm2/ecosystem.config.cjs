// pm2 start examples/pm2/ecosystem.config.cjs
// pm2 reload examples/pm2/ecosystem.config.cjs     a new release, also one with another limit
//
// At a reload there is nothing to do about the limiter: the new processes find the one that the old ones use, and nobody
// gets a fresh burst. `pm2 delete` leaves it too; `npx sluice remove pm2-example` takes it away.

module.exports = {
  apps: [
    {
      name: 'sluice-example',
      script: `${__dirname}/server.mjs`,
      exec_mode: 'cluster',
      instances: 'max',
      wait_ready: true, // the old process ends when the new one has said 'ready'
      env: { PORT: '3000', REQUESTS_PER_SECOND: '50' },
    },
  ],
}
