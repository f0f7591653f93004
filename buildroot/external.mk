include $(sort $(wildcard $(BR2_EXTERNAL_FOS_PATH)/package/*/*.mk))
