'use client';

/** Keys, how this page looks, and what runs here. The tab is in the address. */
import { usePageData } from '@/components/shell/page-data';
import { Tabs } from '@/components/ui/tabs';
import { About } from './about';
import { Display } from './display';
import { Keys } from './keys';

const TABS = [
  { name: 'keys', title: 'Keys' },
  { name: 'display', title: 'Display' },
  { name: 'about', title: 'About' },
] as const;

export function Settings() {
  const { view, choose } = usePageData();
  const current = TABS.find((tab) => tab.name === view.tab)?.name ?? 'keys';
  return (
    <div>
      <h1 className="text-22 font-strong max-tablet:text-20">Settings</h1>
      <Tabs
        label="Settings"
        className="mt-2"
        tabs={TABS}
        current={current}
        onChange={(name) => choose({ tab: name === 'keys' ? null : name })}
      >
        <div className="pt-5">
          {current === 'keys' ? <Keys /> : current === 'display' ? <Display /> : <About />}
        </div>
      </Tabs>
    </div>
  );
}
